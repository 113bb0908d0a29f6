import { Alert, Anchor, Grid, List, Stack, Text } from '@mantine/core';
import { Link } from 'react-router';
import { type Job, useJobGraph, useJobJournal } from '@/api/jobs';
import { useRunGraph } from '@/api/runGraph';
import { useRuns } from '@/api/runs';
import { paths } from '@/app/paths';
import { boxesOf, linesOf } from '@/lib/graph';
import { Code } from '@/ui/Code';
import { Graph } from '@/ui/Graph';
import { Section } from '@/ui/Section';
import { Asked } from '@/ui/states';
import { Positions } from './Positions';
import { RunStrip } from './RunStrip';
import { ScheduleWords } from './ScheduleWords';

/** The graph with what has passed its edges in the newest run, when it runs, and the file. */
export default function OverviewTab({ job }: { job: Job }) {
  const graph = useJobGraph(job.id, job.version);
  const runs = useRuns({ job_id: job.id }, 50);
  const newest = runs.data?.pages[0]?.items.find((run) => run.status !== 'queued' && run.status !== 'skipped');
  const { counts, before } = useRunGraph(newest?.id);
  const logged = job.mode === 'cdc';
  const journal = useJobJournal(job.id, logged);
  return (
    <Stack gap="lg">
      <Asked query={graph} what="Drawing the pipeline">
        {(data) => (
          <Section
            title="Graph"
            aside={newest && <Text size="sm" c="dimmed">counts of <Anchor component={Link} to={paths.run(newest.id)} inherit underline="always">the newest run</Anchor></Text>}
          >
            <Graph label={`Graph of ${job.name.slice(0, 100)}`} boxes={boxesOf(data, counts)} lines={linesOf(data, counts, before)} />
            {data.diagnostics.length > 0 && (
              <Alert color="yellow" variant="outline" mt="xs" p="xs" title="What the checker says of the file">
                <List size="sm">
                  {data.diagnostics.map((part, index) => (
                    <List.Item key={index}>
                      {part.line ? `line ${part.line}: ` : ''}
                      {part.message}
                      {part.help ? ` (${part.help})` : ''}
                    </List.Item>
                  ))}
                </List>
              </Alert>
            )}
          </Section>
        )}
      </Asked>
      <RunStrip runs={runs.data?.pages[0]?.items ?? []} />
      {logged && <Positions job={job} journal={journal} />}
      <Grid gap="lg">
        <Grid.Col span={{ base: 12, lg: 8 }}>
          <Section title="File">
            <Code text={job.spec} label="The pipeline file" />
          </Section>
        </Grid.Col>
        <Grid.Col span={{ base: 12, lg: 4 }}>
          <ScheduleWords job={job} />
        </Grid.Col>
      </Grid>
    </Stack>
  );
}
