import { IconArrowsSplit2, IconGauge, IconPlayerPlay, type TablerIcon } from '@tabler/icons-react';
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
];
