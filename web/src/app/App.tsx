import { MantineProvider } from '@mantine/core';
import { ModalsProvider } from '@mantine/modals';
import { Notifications } from '@mantine/notifications';
import { QueryClientProvider } from '@tanstack/react-query';
import { useMemo, useState } from 'react';
import { RouterProvider } from 'react-router';
import { newQueryClient } from '@/api/queries';
import { useSession } from '@/api/session';
import { ErrorBoundary } from '@/ui/ErrorBoundary';
import { newRouter } from './routes';
import { cssVariables, theme } from './theme';

/** Everything that all pages stand in. */
export function App() {
  const { token, tenant } = useSession();
  // Nothing that was shown to one person or for one tenant is shown to the next.
  const whose = `${token} ${tenant}`;
  // eslint-disable-next-line react-hooks/exhaustive-deps
  const queries = useMemo(newQueryClient, [whose]);
  const [router] = useState(newRouter);
  return (
    <MantineProvider theme={theme} cssVariablesResolver={cssVariables} defaultColorScheme="auto">
      <ErrorBoundary>
        <QueryClientProvider key={whose} client={queries}>
          <ModalsProvider>
            <Notifications position="bottom-right" limit={4} />
            <RouterProvider router={router} />
          </ModalsProvider>
        </QueryClientProvider>
      </ErrorBoundary>
    </MantineProvider>
  );
}
