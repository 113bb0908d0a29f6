import { Box, SimpleGrid, Text } from '@mantine/core';
import { useHistory } from '@/api/monitoring';
import { brief, count, duration } from '@/lib/format';
import { Section } from '@/ui/Section';
import { TimeChart, type TimeChartProps } from '@/ui/TimeChart';
import { Asked } from '@/ui/states';

/** The last day of all pipelines together: what moved, what failed, how late it was. */
export function History() {
  const asked = useHistory(24);
  return (
    <Section title="The last 24 hours">
      <Asked query={asked}>
        {(history) => {
          const from = Date.parse(history.from) / 1_000;
          const to = from + history.step_secs * history.steps.length;
          const points = (value: (step: (typeof history.steps)[number]) => number | null | undefined) =>
            history.steps.flatMap((step, index): [number, number][] => {
              const at = value(step);
              return at === null || at === undefined ? [] : [[from + (index + 1) * history.step_secs, at]];
            });
          const chart = { from, to, height: 110 };
          return (
            <SimpleGrid cols={{ base: 1, md: 3 }} spacing="lg">
              <Chart {...chart} label="Rows per second" format={(value) => `${brief(value)}/s`} series={[{ name: 'rows per second', points: points((step) => step.rows / history.step_secs) }]} />
              <Chart
                {...chart}
                label="Runs that ended"
                format={count}
                series={[
                  { name: 'succeeded', tone: 'good', points: points((step) => step.succeeded) },
                  { name: 'failed', tone: 'bad', points: points((step) => step.failed) },
                ]}
              />
              <Chart {...chart} label="Longest lag" format={duration} series={[{ name: 'longest lag', points: points((step) => step.lag_seconds) }]} />
            </SimpleGrid>
          );
        }}
      </Asked>
    </Section>
  );
}

function Chart(props: TimeChartProps) {
  return (
    <Box>
      <Text size="sm" c="dimmed">
        {props.label}
      </Text>
      <TimeChart {...props} />
    </Box>
  );
}
