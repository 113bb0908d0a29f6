import { Button, Group, ScrollArea, SegmentedControl, Stack, Table, Text } from '@mantine/core';
import { useState } from 'react';
import { type Step, type StepStream, usePreview } from '@/api/pipelines';
import { count } from '@/lib/format';
import { Told } from '@/ui/Told';
import { Empty, Failure, Loading } from '@/ui/states';
import { Problems } from './Problems';

/** The first rows of each source and after each transform. Nothing is written anywhere. */
export function PreviewPanel({ text, ready }: { text: string; ready: boolean }) {
  const preview = usePreview();
  const stale = preview.data !== undefined && preview.variables !== text;
  return (
    <Stack gap="sm">
      <Group gap="sm">
        <Button size="compact-sm" variant="default" loading={preview.isPending} disabled={!ready} onClick={() => preview.mutate(text)}>
          {preview.data === undefined ? 'Show the first rows' : 'Show again'}
        </Button>
        <Text size="xs" c="dimmed">
          {ready
            ? stale
              ? 'The text has changed since.'
              : 'It reads a few rows; nothing is written. What looks personal is masked.'
            : 'The checker must have no errors first.'}
        </Text>
      </Group>
      {preview.isPending && <Loading what="Reading a few rows" />}
      {preview.isError && <Failure error={preview.error} />}
      {preview.data !== undefined && !preview.isPending && (
        <>
          {preview.data.error !== null && <Told error={preview.data.error} title="There is nothing to show" />}
          {preview.data.diagnostics.length > 0 && <Problems problems={preview.data.diagnostics} none="" />}
          {preview.data.steps.length > 0 && <Steps steps={preview.data.steps} />}
        </>
      )}
      {preview.isIdle && (
        <Empty title="No rows yet">Rows as they come out of each source and each transform, side by side with what was taken out.</Empty>
      )}
    </Stack>
  );
}

function Steps({ steps }: { steps: Step[] }) {
  const [chosen, setChosen] = useState(steps.at(-1)?.step ?? '');
  const step = steps.find((one) => one.step === chosen) ?? steps.at(-1);
  return (
    <Stack gap="sm">
      <ScrollArea type="auto" viewportProps={{ tabIndex: 0, role: 'region', 'aria-label': 'Steps' }}>
        <SegmentedControl
          size="xs"
          aria-label="Step"
          value={step?.step}
          onChange={setChosen}
          data={steps.map((one) => ({ value: one.step, label: one.step === one.kind ? one.step : `${one.step} (${one.kind})` }))}
        />
      </ScrollArea>
      {step?.error !== undefined && <Told error={step.error} />}
      {step?.streams.map((stream) => (
        <Rows key={stream.stream} stream={stream} named={step.streams.length > 1} />
      ))}
    </Stack>
  );
}

function Rows({ stream, named }: { stream: StepStream; named: boolean }) {
  const notes = [
    `${count(stream.rows.length)} ${stream.rows.length === 1 ? 'row' : 'rows'} shown`,
    stream.filtered > 0 ? `${count(stream.filtered)} filtered out on the way` : '',
    stream.masked_columns.length > 0 ? `masked: ${stream.masked_columns.join(', ')}` : '',
  ].filter((note) => note !== '');
  return (
    <Stack gap={4}>
      {named && (
        <Text size="sm" fw={600}>
          <bdi>{stream.stream}</bdi>
        </Text>
      )}
      <ScrollArea.Autosize type="auto" mah={420} viewportProps={{ tabIndex: 0, role: 'region', 'aria-label': `Rows of ${stream.stream}` }}>
        <Table stickyHeader withTableBorder fz="xs" w="max-content" miw="100%">
          <Table.Thead>
            <Table.Tr>
              {stream.columns.map((column) => (
                <Table.Th key={column.name} miw={80}>
                  <bdi>{column.name}</bdi>
                  <Text size="xs" c="dimmed" fw={400}>
                    {column.type}
                    {column.nullable ? '' : ', not null'}
                  </Text>
                </Table.Th>
              ))}
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {stream.rows.map((row, index) => (
              <Table.Tr key={index}>
                {row.map((cell, at) => (
                  <Table.Td key={at} maw={320} style={{ whiteSpace: 'pre-wrap' }} dir="auto">
                    {cell === null ? (
                      <Text span size="xs" c="dimmed" fs="italic">
                        null
                      </Text>
                    ) : cell === '' ? (
                      <Text span size="xs" c="dimmed" fs="italic">
                        empty
                      </Text>
                    ) : (
                      cell
                    )}
                  </Table.Td>
                ))}
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </ScrollArea.Autosize>
      <Text size="xs" c="dimmed">
        {notes.join(' · ')}
      </Text>
      {stream.dead_letters.map((letter, index) => (
        <Text key={index} size="xs" c="var(--weir-bad)">
          Dead letter: {letter}
        </Text>
      ))}
    </Stack>
  );
}
