import { Anchor, Button, Group, Select, Stack, Table, Text, TextInput } from '@mantine/core';
import { type FormEvent, useState } from 'react';
import { useQuery } from '@tanstack/react-query';
import { Link } from 'react-router';
import { paths } from '@/app/paths';
import { type Silence, useSilenceActions, useSilences } from '@/api/alerting';
import { jobQuery } from '@/api/jobs';
import { useMay } from '@/api/me';
import { JobPick } from '@/ui/JobPick';
import { Section } from '@/ui/Section';
import { When } from '@/ui/When';
import { done, failed } from '@/ui/notify';
import { Asked, Empty } from '@/ui/states';
import { WideTable } from '@/ui/WideTable';

const LENGTHS = [
  { value: '1', label: '1 hour' },
  { value: '4', label: '4 hours' },
  { value: '12', label: '12 hours' },
  { value: '24', label: '1 day' },
  { value: '168', label: '7 days' },
];

/** Who is not told for a while. Alerts are recorded all the same. */
export function Silences() {
  const silences = useSilences();
  const may = useMay('operator');
  const { end } = useSilenceActions();
  return (
    <Stack gap="lg">
      <Asked query={silences}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title="Nothing is silenced">
              A silence keeps notifications back, of one pipeline or of all; alerts are recorded all the same.
            </Empty>
          ) : (
            <WideTable label="Silences" minWidth={480}>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th>Of</Table.Th>
                  <Table.Th>Why</Table.Th>
                  <Table.Th>Ends</Table.Th>
                  <Table.Th />
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {items.map((silence) => (
                  <Table.Tr key={silence.id}>
                    <Table.Td maw={240}>
                      <Of silence={silence} />
                    </Table.Td>
                    <Table.Td maw={360} dir="auto">
                      {silence.reason}
                    </Table.Td>
                    <Table.Td>
                      <When at={silence.until} />
                    </Table.Td>
                    <Table.Td ta="right">
                      {may && (
                        <Button
                          size="compact-xs"
                          variant="default"
                          aria-label={`End the silence: ${silence.reason.slice(0, 80)}`}
                          onClick={() =>
                            end.mutate(silence.id, {
                              onSuccess: () => done('The silence has ended'),
                              onError: (error) => failed('The silence was not ended', error),
                            })
                          }
                        >
                          End
                        </Button>
                      )}
                    </Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </WideTable>
          )
        }
      </Asked>
      {may && <NewSilence />}
    </Stack>
  );
}

function Of({ silence }: { silence: Silence }) {
  const id = silence.job_id ?? null;
  const job = useQuery({ ...jobQuery(id ?? ''), enabled: id !== null });
  if (id === null)
    return (
      <Text span inherit>
        all pipelines
      </Text>
    );
  return (
    <Anchor component={Link} to={paths.pipeline(id)} inherit>
      <bdi>{job.data?.name.slice(0, 120) ?? 'a pipeline'}</bdi>
    </Anchor>
  );
}

function NewSilence() {
  const [job, setJob] = useState<string | null>(null);
  const [hours, setHours] = useState('1');
  const [reason, setReason] = useState('');
  const { create } = useSilenceActions();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const until = new Date(Date.now() + Number(hours) * 3_600_000).toISOString();
    create.mutate(
      { ...(job === null ? {} : { job_id: job }), until, reason: reason.trim() },
      {
        onSuccess: () => {
          setReason('');
          done('Nobody is told for that long');
        },
        onError: (error) => failed('Nothing was silenced', error),
      },
    );
  };
  return (
    <Section title="New silence">
      <form onSubmit={submit}>
        <Group align="flex-end" gap="sm">
          <JobPick label="Of" value={job} onChange={setJob} placeholder="all pipelines" />
          <Select
            size="xs"
            label="For"
            w={120}
            allowDeselect={false}
            data={LENGTHS}
            value={hours}
            onChange={(value) => value !== null && setHours(value)}
          />
          <TextInput
            size="xs"
            label="Why"
            required
            maxLength={500}
            miw={220}
            flex={1}
            maw={420}
            value={reason}
            onChange={(event) => setReason(event.currentTarget.value)}
          />
          <Button type="submit" size="xs" loading={create.isPending} disabled={reason.trim() === ''}>
            Silence
          </Button>
        </Group>
      </form>
    </Section>
  );
}
