import { Anchor } from '@mantine/core';
import { IconSearchOff } from '@tabler/icons-react';
import { Link, useRouteError } from 'react-router';
import { paths } from '@/app/paths';
import { Broken } from './ErrorBoundary';
import { Empty } from './states';

/** A page threw; the navigation around it stays. */
export function RouteFailure() {
  return <Broken error={useRouteError()} />;
}

export function NoSuchPage() {
  return (
    <Empty title="There is no such page" icon={<IconSearchOff size={28} stroke={1.4} aria-hidden />}>
      <Anchor component={Link} to={paths.overview}>
        To the overview
      </Anchor>
    </Empty>
  );
}
