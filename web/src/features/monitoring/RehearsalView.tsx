import { List, Stack, Text } from '@mantine/core';
import type { UseQueryResult } from '@tanstack/react-query';
import type { Rehearsal } from '@/api/alerting';
import { duration, moment } from '@/lib/format';
import { inUnit } from '@/lib/measures';
import { TimeChart } from '@/ui/TimeChart';
import { Asked, Empty } from '@/ui/states';
import { titled } from './measures';

const seconds = (at: string) => Date.parse(at) / 1_000;

/** What a rule would have found: the value over time against the threshold, and each alert that would have been. */
export function RehearsalView({
  query,
  threshold,
  metric,
}: {
  query: UseQueryResult<Rehearsal>;
  threshold: number | null;
  metric: string;
}) {
  return (
    <Asked query={query} what="Looking at the history">
      {(told) => {
        const format = (value: number) => inUnit(told.unit ?? undefined, value);
        const points = told.values.flatMap(({ at, value }): [number, number][] => (value == null ? [] : [[seconds(at), value]]));
        if (points.length === 0)
          return (
            <Empty title="Never: nothing was measured">There are no values of this measure yet, so nothing can be said about it.</Empty>
          );
        const [from, to] = [seconds(told.from), seconds(told.to)];
        const line = {
          name: 'Threshold',
          points:
            threshold === null
              ? []
              : ([
                  [from, threshold],
                  [to, threshold],
                ] as [number, number][]),
        };
        return (
          <Stack gap={4}>
            <TimeChart
              label={`${titled(metric)} against the threshold`}
              series={[{ name: titled(metric), points }, line]}
              format={format}
              from={from}
              to={to}
              height={180}
            />
            <Text size="sm" role="status">
              {told.alerts.length === 0
                ? 'Never.'
                : told.alerts.length === 1
                  ? 'Once:'
                  : `${told.alerts.length} times${told.alerts.length > 8 ? ', lastly' : ''}:`}
              {told.truncated && ' (There was more than fits: some moments were left out.)'}
            </Text>
            <List size="xs">
              {told.alerts.slice(-8).map((alert) => (
                <List.Item key={alert.fired_at}>
                  {moment(alert.fired_at)},{' '}
                  {alert.resolved_at == null
                    ? 'and it would still hold'
                    : `for ${duration(seconds(alert.resolved_at) - seconds(alert.fired_at))}`}
                  , at most {format(alert.highest)}
                </List.Item>
              ))}
            </List>
          </Stack>
        );
      }}
    </Asked>
  );
}
