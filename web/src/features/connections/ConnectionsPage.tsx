import { Anchor, Button, TextInput } from '@mantine/core';
import { IconPlus, IconSearch } from '@tabler/icons-react';
import { useEffect, useMemo, useState } from 'react';
import { Link } from 'react-router';
import { paths } from '@/app/paths';
import { type Connection, useConnections } from '@/api/connections';
import { useMay } from '@/api/me';
import { Clipped } from '@/ui/Clipped';
import { type Column, DataTable } from '@/ui/DataTable';
import { Page } from '@/ui/Page';
import { When } from '@/ui/When';
import { Empty, Failure, Loading } from '@/ui/states';
import { TestCell } from './TestCell';

/** The stored connections of the tenant. */
export default function ConnectionsPage() {
  const connections = useConnections();
  const may = useMay('editor');
  const [search, setSearch] = useState('');
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = connections;
  useEffect(() => {
    if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage]);
  const all = useMemo(() => (connections.data?.pages.flatMap((page) => page.items) ?? []) as unknown as Connection[], [connections.data]);
  const found = useMemo(() => all.filter((one) => `${one.name} ${one.kind}`.toLowerCase().includes(search.toLowerCase())), [all, search]);
  const create = may && (
    <Button component={Link} to={paths.newConnection} size="xs" leftSection={<IconPlus size={14} aria-hidden />}>
      New connection
    </Button>
  );
  return (
    <Page title="Connections" actions={create}>
      {connections.isPending && <Loading />}
      {connections.isError && <Failure error={connections.error} onRetry={() => void connections.refetch()} />}
      {connections.data !== undefined && (
        <>
          {all.length > 0 && (
            <TextInput
              size="xs"
              aria-label="Search connections"
              placeholder="Name or connector"
              leftSection={<IconSearch size={14} aria-hidden />}
              maw={360}
              value={search}
              onChange={(event) => setSearch(event.currentTarget.value)}
            />
          )}
          <DataTable
            label="Connections"
            rows={found}
            columns={COLUMNS}
            rowId={(row) => row.id}
            empty={
              all.length === 0 ? (
                <Empty title="No connection is stored yet">
                  A connection is the address and the credentials of a system, stored once and named in pipelines. Its secrets are sealed
                  and never shown.
                </Empty>
              ) : (
                <Empty title="No connection has this in its name" />
              )
            }
          />
        </>
      )}
    </Page>
  );
}

const COLUMNS: Column<Connection>[] = [
  {
    id: 'name',
    header: 'Name',
    sort: (row) => row.name,
    cell: (row) => (
      <Anchor component={Link} to={paths.connection(row.id)} inherit>
        <Clipped text={row.name} />
      </Anchor>
    ),
  },
  { id: 'kind', header: 'Connector', sort: (row) => row.kind, width: 130, from: 'xs', cell: (row) => row.kind },
  { id: 'updated', header: 'Changed', sort: (row) => row.updated_at, width: 130, from: 'sm', cell: (row) => <When at={row.updated_at} /> },
  { id: 'test', header: 'Works?', width: 160, cell: (row) => <TestCell id={row.id} name={row.name} /> },
];
