import { Button, Group, Select, Stack, Text, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { IconPlus, IconSearch } from '@tabler/icons-react';
import { useMemo, useState } from 'react';
import { Link, useSearchParams } from 'react-router';
import { useAll } from '@/api/all';
import { useJobPages } from '@/api/jobs';
import { useMay } from '@/api/me';
import { RUN_STATUSES } from '@/api/runs';
import { paths } from '@/app/paths';
import { count } from '@/lib/format';
import { filterJobs } from '@/lib/search';
import { DataTable } from '@/ui/DataTable';
import { Page } from '@/ui/Page';
import { Empty, Failure, Loading } from '@/ui/states';
import { BulkActions } from './BulkActions';
import { columns } from './columns';

const MODES = ['batch', 'incremental', 'cdc', 'streaming'];

/** All pipelines: found by words, filtered, sorted, chosen. The filter is in the address, so that it can be sent to somebody. */
export default function PipelinesPage() {
  const pages = useJobPages();
  const { rows, complete } = useAll(pages);
  const mayEdit = useMay('editor');
  const [params, setParams] = useSearchParams();
  const [text, setText] = useState(params.get('q') ?? '');
  const [words] = useDebouncedValue(text, 120);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const status = params.get('status');
  const mode = params.get('mode');
  const last = params.get('last');
  const found = useMemo(() => filterJobs(rows, { text: words, status, mode, last }), [rows, words, status, mode, last]);
  const selected = useMemo(() => found.filter(({ id }) => chosen.has(id)), [found, chosen]);
  const choice = (name: string, label: string, data: string[]) => (
    <Select
      size="xs"
      w={{ base: '100%', xs: 130 }}
      aria-label={label}
      placeholder={label}
      data={data}
      clearable
      value={params.get(name)}
      onChange={(value) => setParams((old) => changed(old, name, value), { replace: true })}
    />
  );
  const body = () => {
    if (pages.data === undefined) return pages.isError ? <Failure error={pages.error} onRetry={() => void pages.refetch()} /> : <Loading what="Loading pipelines" />;
    if (rows.length === 0) return <NoPipelines mayEdit={mayEdit} />;
    return (
      <DataTable
        label="Pipelines"
        rows={found}
        columns={columns}
        rowId={(job) => job.id}
        nameOf={(job) => job.name.slice(0, 200)}
        chosen={chosen}
        onChoose={setChosen}
        sorted={{ id: 'name', desc: false }}
        empty={<Empty title="No pipeline fits">Other words, or fewer conditions.</Empty>}
      />
    );
  };
  return (
    <Page
      title="Pipelines"
      aside={
        <Text size="sm" c="dimmed" className="numbers" role="status">
          {complete ? '' : 'loading… '}
          {found.length === rows.length ? count(rows.length) : `${count(found.length)} of ${count(rows.length)}`}
        </Text>
      }
      actions={
        mayEdit && (
          <Button component={Link} to={paths.newPipeline} size="xs" leftSection={<IconPlus size={14} aria-hidden />}>
            New pipeline
          </Button>
        )
      }
    >
      <Stack gap="xs">
        <Group gap="xs">
          <TextInput
            size="xs"
            style={{ flex: '1 1 220px' }}
            aria-label="Search pipelines"
            placeholder="Name, connector, label:value"
            leftSection={<IconSearch size={14} aria-hidden />}
            value={text}
            onChange={({ currentTarget: { value } }) => {
              setText(value);
              setParams((old) => changed(old, 'q', value || null), { replace: true });
            }}
          />
          {choice('status', 'State', ['active', 'paused'])}
          {choice('mode', 'Mode', MODES)}
          {choice('last', 'Last run', [...RUN_STATUSES, 'never'])}
        </Group>
        <BulkActions jobs={selected} onDone={() => setChosen(new Set())} />
        {body()}
      </Stack>
    </Page>
  );
}

function changed(old: URLSearchParams, name: string, value: string | null) {
  const next = new URLSearchParams(old);
  if (value === null) next.delete(name);
  else next.set(name, value);
  return next;
}

const NoPipelines = ({ mayEdit }: { mayEdit: boolean }) => (
  <Empty title="No pipelines yet">{mayEdit ? 'Make the first one from a template or from a file.' : 'Somebody with the role editor makes the first one.'}</Empty>
);
