import { Outlet, type RouteObject, createBrowserRouter } from 'react-router';
import { Login } from '@/features/login/Login';
import { NoSuchPage, RouteFailure } from '@/ui/RouteFailure';
import { Loading } from '@/ui/states';
import { Shell } from './Shell';

/** A page in a chunk of its own, loaded when it is first looked at. */
const page = (path: string, load: () => Promise<{ default: React.ComponentType }>): RouteObject => ({
  path,
  lazy: async () => ({ Component: (await load()).default }),
});

export const pages: RouteObject[] = [
  { index: true, lazy: async () => ({ Component: (await import('@/features/overview/OverviewPage')).default }) },
  page('pipelines', () => import('@/features/pipelines/PipelinesPage')),
  page('pipelines/new', () => import('@/features/edit/NewPipelinePage')),
  page('pipelines/:job/edit', () => import('@/features/edit/EditPipelinePage')),
  page('pipelines/:job/:tab?', () => import('@/features/pipeline/PipelinePage')),
  page('runs', () => import('@/features/runs/RunsPage')),
  page('runs/compare', () => import('@/features/runs/ComparePage')),
  page('runs/:run/:tab?', () => import('@/features/run/RunPage')),
  page('connections', () => import('@/features/connections/ConnectionsPage')),
  page('connections/new', () => import('@/features/connections/NewConnectionPage')),
  page('connections/:connection', () => import('@/features/connections/ConnectionPage')),
  page('monitoring/:part?', () => import('@/features/monitoring/MonitoringPage')),
  page('admin/:part?', () => import('@/features/admin/AdminPage')),
  { path: '*', Component: NoSuchPage },
];

export const newRouter = () =>
  createBrowserRouter([
    {
      element: (
        <Login>
          <Outlet />
        </Login>
      ),
      HydrateFallback: Loading,
      children: [{ path: '/', Component: Shell, children: [{ ErrorBoundary: RouteFailure, children: pages }] }],
    },
  ]);
