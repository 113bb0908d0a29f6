import { IconArrowsSplit2, IconBell, IconGauge, IconPlayerPlay, IconPlugConnected, IconShieldLock, type TablerIcon } from '@tabler/icons-react';
import type { Role } from '@/api/me';
import { paths } from './paths';

export interface Entry {
  label: string;
  to: string;
  icon: TablerIcon;
  /** Shown to callers with at least this role. */
  role?: Role;
}

/** The navigation, in its order. */
export const navigation: Entry[] = [
  { label: 'Overview', to: paths.overview, icon: IconGauge },
  { label: 'Pipelines', to: paths.pipelines, icon: IconArrowsSplit2 },
  { label: 'Runs', to: paths.runs, icon: IconPlayerPlay },
  { label: 'Connections', to: paths.connections, icon: IconPlugConnected },
  { label: 'Monitoring', to: paths.monitoring, icon: IconBell },
  { label: 'Admin', to: paths.admin(), icon: IconShieldLock, role: 'admin' },
];
