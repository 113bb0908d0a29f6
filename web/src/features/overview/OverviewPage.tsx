import { SimpleGrid, Stack } from '@mantine/core';
import { useDashboard } from '@/api/monitoring';
import { brief, bytes, count, dollars, duration } from '@/lib/format';
import { Page } from '@/ui/Page';
import { Tile } from '@/ui/Tile';
import { Asked } from '@/ui/states';

/** The health of everything at a glance. */
export default function OverviewPage() {
  const dashboard = useDashboard();
  return (
    <Page title="Overview">
      <Asked query={dashboard}>
        {(now) => (
          <Stack gap="lg">
            <SimpleGrid cols={{ base: 2, sm: 3, lg: 6 }} spacing="xs" verticalSpacing="xs">
              <Tile label="Running" value={count(now.queue.running)} note={`${count(now.queue.queued)} waiting`} />
              <Tile label="Failed today" value={count(now.runs_today.failed ?? 0)} note={`${count(now.runs_today.succeeded ?? 0)} succeeded`} />
              <Tile label="Rows per second" value={brief(now.throughput.rows_per_second)} note={`${brief(now.throughput.rows_today)} today`} />
              <Tile label="Bytes per second" value={bytes(now.throughput.bytes_per_second)} note={`${bytes(now.throughput.bytes_today)} today`} />
              <Tile label="Oldest data" value={duration(now.freshness.max_seconds)} note={`lag ${duration(now.lag.max_seconds)}`} />
              <Tile label="Cost today" value={dollars(now.cost.today_usd)} note={`${dollars(now.cost.last_30_days_usd)} in 30 days`} />
            </SimpleGrid>
          </Stack>
        )}
      </Asked>
    </Page>
  );
}
