import { Button, Group, Stack, Table, Text } from '@mantine/core';
import { modals } from '@mantine/modals';
import { type Token, useAccessActions, usePrincipals, useTokens } from '@/api/access';
import { More } from '@/ui/More';
import { Status } from '@/ui/Status';
import { When } from '@/ui/When';
import { done, failed } from '@/ui/notify';
import { Empty, Failure, Loading } from '@/ui/states';
import { WideTable } from '@/ui/WideTable';
import { NewToken } from './NewToken';

/** Tokens of the tenant. Their secrets are not kept anywhere, so they cannot be shown again. */
export function Tokens() {
  const tokens = useTokens();
  const principals = usePrincipals();
  if (tokens.isError) return <Failure error={tokens.error} onRetry={() => void tokens.refetch()} />;
  if (tokens.data === undefined) return <Loading />;
  const all = tokens.data.pages.flatMap((page) => page.items);
  const people = principals.data?.pages.flatMap((page) => page.items) ?? [];
  const nameOf = (token: Token) => people.find((one) => one.id === token.principal_id)?.name ?? 'somebody else';
  return (
    <Stack gap="lg">
      {all.length === 0 ? (
        <Empty title="There is no token yet">A token lets a person or a program in, with at most the role that it was made for.</Empty>
      ) : (
        <WideTable label="Tokens" minWidth={720}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Name</Table.Th>
              <Table.Th>Of</Table.Th>
              <Table.Th>May</Table.Th>
              <Table.Th>State</Table.Th>
              <Table.Th>Last used</Table.Th>
              <Table.Th />
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {all.map((token) => (
              <Row key={token.id} token={token} owner={nameOf(token)} />
            ))}
          </Table.Tbody>
        </WideTable>
      )}
      <More pages={tokens} />
      <NewToken people={people} />
    </Stack>
  );
}

export function stateOf(
  token: Pick<Token, 'revoked_at' | 'expires_at'>,
  now = Date.now(),
): { state: string; label: string; valid: boolean } {
  if (token.revoked_at != null) return { state: 'failed', label: 'revoked', valid: false };
  if (token.expires_at != null && new Date(token.expires_at).getTime() <= now)
    return { state: 'cancelled', label: 'expired', valid: false };
  return { state: 'active', label: 'valid', valid: true };
}

function Row({ token, owner }: { token: Token; owner: string }) {
  const { revokeToken } = useAccessActions();
  const { state, label, valid } = stateOf(token);
  const ask = () =>
    modals.openConfirmModal({
      title: `Revoke ${token.name}?`,
      children: <Text size="sm">Whoever uses it is not let in any more, at once and for good.</Text>,
      labels: { confirm: 'Revoke', cancel: 'Keep' },
      confirmProps: { color: 'red' },
      onConfirm: () =>
        revokeToken.mutate(token.id, {
          onSuccess: () => done(`${token.name} was revoked`),
          onError: (error) => failed(`${token.name} was not revoked`, error),
        }),
    });
  return (
    <Table.Tr>
      <Table.Td maw={240}>
        <bdi>{token.name}</bdi>
        <Text size="xs" c="dimmed" ff="monospace">
          {token.prefix}…
        </Text>
      </Table.Td>
      <Table.Td maw={180}>
        <bdi>{owner}</bdi>
      </Table.Td>
      <Table.Td>
        {token.role}
        {token.scopes.length > 0 && (
          <Text size="xs" c="dimmed">
            {token.scopes.join(', ')}
          </Text>
        )}
      </Table.Td>
      <Table.Td>
        <Status state={state} label={label} />
        {valid && token.expires_at != null && (
          <Text size="xs" c="dimmed">
            until <When at={token.expires_at} />
          </Text>
        )}
      </Table.Td>
      <Table.Td>
        <When at={token.last_used_at} none="never" />
      </Table.Td>
      <Table.Td ta="right">
        <Group justify="flex-end">
          {valid && (
            <Button size="compact-xs" variant="default" aria-label={`Revoke ${token.name}`} loading={revokeToken.isPending} onClick={ask}>
              Revoke
            </Button>
          )}
        </Group>
      </Table.Td>
    </Table.Tr>
  );
}
