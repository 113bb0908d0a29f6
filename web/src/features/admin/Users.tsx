import { Badge, Button, Group, Menu, Stack, Table, Text } from '@mantine/core';
import { modals } from '@mantine/modals';
import { IconDots } from '@tabler/icons-react';
import { type Principal, useAccessActions, usePrincipals } from '@/api/access';
import { useMe } from '@/api/me';
import { More } from '@/ui/More';
import { When } from '@/ui/When';
import { done, failed } from '@/ui/notify';
import { Empty, Failure, Loading } from '@/ui/states';
import { WideTable } from '@/ui/WideTable';
import { NewUser } from './NewUser';
import { RoleSelect } from './RoleSelect';

/** Users and service accounts of the tenant, each with its role. */
export function Users() {
  const principals = usePrincipals();
  if (principals.isError) return <Failure error={principals.error} onRetry={() => void principals.refetch()} />;
  if (principals.data === undefined) return <Loading />;
  const all = principals.data.pages.flatMap((page) => page.items);
  return (
    <Stack gap="lg">
      {all.length === 0 ? (
        <Empty title="There is nobody yet">A user is a person, a service account a program. Both act with tokens.</Empty>
      ) : (
        <WideTable label="Users and service accounts" minWidth={620}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Name</Table.Th>
              <Table.Th>Kind</Table.Th>
              <Table.Th w={170}>Role</Table.Th>
              <Table.Th>Since</Table.Th>
              <Table.Th w={50} />
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {all.map((one) => (
              <Row key={one.id} of={one} />
            ))}
          </Table.Tbody>
        </WideTable>
      )}
      <More pages={principals} />
      <NewUser />
    </Stack>
  );
}

function Row({ of }: { of: Principal }) {
  const { data: me } = useMe();
  const { updatePrincipal, deletePrincipal } = useAccessActions();
  const own = me?.principal_id === of.id;
  const update = (body: { role: Principal['role']; disabled: boolean }, message: string) =>
    updatePrincipal.mutate(
      { of, body },
      { onSuccess: () => done(message), onError: (error) => failed(`${of.name} was not changed`, error) },
    );
  const remove = () =>
    modals.openConfirmModal({
      title: `Delete ${of.name}?`,
      children: <Text size="sm">All tokens of it stop working at once. What it did stays in the audit log.</Text>,
      labels: { confirm: 'Delete', cancel: 'Keep' },
      confirmProps: { color: 'red' },
      onConfirm: () =>
        deletePrincipal.mutate(of.id, {
          onSuccess: () => done(`${of.name} was deleted`),
          onError: (error) => failed(`${of.name} was not deleted`, error),
        }),
    });
  return (
    <Table.Tr>
      <Table.Td maw={280}>
        <Group gap="xs">
          <bdi>{of.name}</bdi>
          {own && (
            <Badge size="xs" variant="default" tt="none">
              you
            </Badge>
          )}
          {of.disabled && (
            <Badge size="xs" variant="default" tt="none">
              disabled
            </Badge>
          )}
        </Group>
        {of.oidc_subject && (
          <Text size="xs" c="dimmed">
            {of.oidc_subject}
          </Text>
        )}
      </Table.Td>
      <Table.Td>{of.kind === 'user' ? 'user' : 'service account'}</Table.Td>
      <Table.Td>
        <RoleSelect
          aria-label={`Role of ${of.name}`}
          value={of.role}
          allowDeselect={false}
          disabled={own || updatePrincipal.isPending}
          onChange={(role) => role !== null && role !== of.role && update({ role, disabled: of.disabled }, `${of.name} is ${role} now`)}
        />
      </Table.Td>
      <Table.Td>
        <When at={of.created_at} />
      </Table.Td>
      <Table.Td>
        <Menu position="bottom-end">
          <Menu.Target>
            <Button variant="subtle" color="gray" size="compact-sm" aria-label={`What can be done with ${of.name}`}>
              <IconDots size={16} aria-hidden />
            </Button>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Item
              disabled={own}
              onClick={() =>
                update(
                  { role: of.role, disabled: !of.disabled },
                  of.disabled ? `${of.name} is let in again` : `${of.name} is not let in any more`,
                )
              }
            >
              {of.disabled ? 'Enable' : 'Disable'}
            </Menu.Item>
            <Menu.Item color="red" disabled={own} onClick={remove}>
              Delete
            </Menu.Item>
          </Menu.Dropdown>
        </Menu>
      </Table.Td>
    </Table.Tr>
  );
}
