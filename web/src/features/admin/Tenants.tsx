import { Button, Group, Stack, Table, Text } from '@mantine/core';
import { useState } from 'react';
import { session, useSession } from '@/api/session';
import { useMe } from '@/api/me';
import { type Tenant, useTenants } from '@/api/tenants';
import { More } from '@/ui/More';
import { Status } from '@/ui/Status';
import { When } from '@/ui/When';
import { Failure, Loading } from '@/ui/states';
import { WideTable } from '@/ui/WideTable';
import { QUOTAS } from './quotas';
import { TenantForm } from './TenantForm';

/** All tenants of the platform. */
export function Tenants() {
  const tenants = useTenants();
  const [edited, setEdited] = useState<Tenant | 'new' | null>(null);
  if (tenants.isError) return <Failure error={tenants.error} onRetry={() => void tenants.refetch()} />;
  if (tenants.data === undefined) return <Loading />;
  const all = tenants.data.pages.flatMap((page) => page.items);
  return (
    <Stack gap="md">
      <Group>
        <Button size="compact-sm" onClick={() => setEdited('new')}>
          New tenant
        </Button>
      </Group>
      <TenantForm of={edited} onClose={() => setEdited(null)} />
      <WideTable label="Tenants" minWidth={680}>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Tenant</Table.Th>
            <Table.Th>State</Table.Th>
            <Table.Th>Limits</Table.Th>
            <Table.Th>Since</Table.Th>
            <Table.Th />
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {all.map((tenant) => (
            <Row key={tenant.id} tenant={tenant} onEdit={() => setEdited(tenant)} />
          ))}
        </Table.Tbody>
      </WideTable>
      <More pages={tenants} />
    </Stack>
  );
}

function Row({ tenant, onEdit }: { tenant: Tenant; onEdit: () => void }) {
  const { data: me } = useMe();
  const { token } = useSession();
  const limits = QUOTAS.filter((quota) => tenant.quotas[quota.name] != null).map(
    (quota) => `${quota.label} ${quota.written(tenant.quotas[quota.name]!)}`,
  );
  return (
    <Table.Tr>
      <Table.Td maw={280}>
        <bdi>{tenant.name}</bdi>
        <Text size="xs" c="dimmed" ff="monospace">
          {tenant.id}
        </Text>
      </Table.Td>
      <Table.Td>
        <Status state={tenant.status} />
      </Table.Td>
      <Table.Td maw={320}>
        {limits.length === 0 ? (
          <Text span inherit c="dimmed">
            none of its own
          </Text>
        ) : (
          limits.join(' · ')
        )}
      </Table.Td>
      <Table.Td>
        <When at={tenant.created_at} />
      </Table.Td>
      <Table.Td>
        <Group gap={6} justify="flex-end" wrap="nowrap">
          {token !== null && me?.tenant_id !== tenant.id && tenant.status === 'active' && (
            <Button
              size="compact-xs"
              variant="default"
              aria-label={`Look at everything of ${tenant.id}`}
              onClick={() => session.visit(tenant.id)}
            >
              Visit
            </Button>
          )}
          {tenant.status !== 'removed' && (
            <Button size="compact-xs" variant="default" aria-label={`Change ${tenant.id}`} onClick={onEdit}>
              Change
            </Button>
          )}
        </Group>
      </Table.Td>
    </Table.Tr>
  );
}
