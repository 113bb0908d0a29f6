import { Anchor, ScrollArea, Table } from '@mantine/core';
import { Link, useSearchParams } from 'react-router';
import { type Run, useRun } from '@/api/runs';
import { paths } from '@/app/paths';
import { bytes, count, duration, moment } from '@/lib/format';
import { type Row, comparison } from '@/lib/compare';
import { Clipped } from '@/ui/Clipped';
import { Page } from '@/ui/Page';
import { Section } from '@/ui/Section';
import { Status } from '@/ui/Status';
import { Asked, Empty } from '@/ui/states';
import { why } from './columns';

/** Two runs beside each other, and what differs. */
export default function ComparePage() {
  const [params] = useSearchParams();
  const [a, b] = [params.get('a') ?? '', params.get('b') ?? ''];
  const [one, other] = [useRun(a), useRun(b)];
  if (a === '' || b === '') return <Page title="Compare runs"><Empty title="Choose two runs">In the list of runs, at the left of each row.</Empty></Page>;
  return (
    <Page title="Compare runs">
      <Asked query={one}>{(first) => <Asked query={other}>{(second) => <Beside pair={[first, second].sort((x, y) => x.queued_at.localeCompare(y.queued_at)) as [Run, Run]} />}</Asked>}</Asked>
    </Page>
  );
}

/** Two short runs differ in what a whole duration does not show. */
const fine = (seconds: number) => (seconds < 10 ? `${seconds.toFixed(2)} s` : duration(seconds));
const FORMATS = { count, bytes, seconds: fine };

function Beside({ pair: [a, b] }: { pair: [Run, Run] }) {
  const { whole, streams } = comparison(a, b);
  const head = (run: Run) => (
    <Table.Th key={run.id} ta="right">
      <Anchor component={Link} to={paths.run(run.id)} inherit>
        {moment(run.queued_at)}
      </Anchor>
    </Table.Th>
  );
  const words: [string, (run: Run) => React.ReactNode][] = [
    ['Pipeline', (run) => <Clipped text={run.job_name} />],
    ['State', (run) => <Status state={run.status} />],
    ['Version', (run) => run.job_version],
    ['Why', why],
    ['Attempts', (run) => run.attempt],
  ];
  return (
    <>
      <ScrollArea type="auto" offsetScrollbars="x" viewportProps={{ tabIndex: 0, role: 'region', 'aria-label': 'The runs' }}>
        <Table miw={520} withTableBorder layout="fixed" aria-label="The runs">
          <Table.Thead>
            <Table.Tr>
              <Table.Th w={130} />
              {head(a)}
              {head(b)}
              <Table.Th ta="right">Difference</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {words.map(([name, of]) => (
              <Table.Tr key={name}>
                <Table.Th fw={400} c="dimmed">{name}</Table.Th>
                <Table.Td ta="right">{of(a)}</Table.Td>
                <Table.Td ta="right">{of(b)}</Table.Td>
                <Table.Td />
              </Table.Tr>
            ))}
            {whole.map((row) => (
              <Numbers key={row.name} row={row} />
            ))}
          </Table.Tbody>
        </Table>
      </ScrollArea>
      {streams.map(({ name, rows }) => (
        <Section key={name} title={`Stream ${name.slice(0, 200)}`}>
          <ScrollArea type="auto" offsetScrollbars="x" viewportProps={{ tabIndex: 0, role: 'region', 'aria-label': `Stream ${name.slice(0, 100)}` }}>
            <Table miw={520} withTableBorder layout="fixed" aria-label={`Stream ${name.slice(0, 100)}`}>
              <Table.Tbody>
                {rows.map((row) => (
                  <Numbers key={row.name} row={row} />
                ))}
              </Table.Tbody>
            </Table>
          </ScrollArea>
        </Section>
      ))}
    </>
  );
}

function Numbers({ row }: { row: Row }) {
  const say = FORMATS[row.unit];
  const shown = (value: number | null) => (value === null || Number.isNaN(value) ? '–' : say(value));
  return (
    <Table.Tr className="numbers">
      <Table.Th fw={400} c="dimmed" w={130}>{row.name}</Table.Th>
      <Table.Td ta="right">{shown(row.a)}</Table.Td>
      <Table.Td ta="right">{shown(row.b)}</Table.Td>
      <Table.Td ta="right">{row.difference === 0 ? 'the same' : row.difference === null ? '' : `${row.difference > 0 ? '+' : '−'}${say(Math.abs(row.difference))}`}</Table.Td>
    </Table.Tr>
  );
}
