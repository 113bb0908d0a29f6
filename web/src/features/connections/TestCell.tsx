import { Button, Group, Text } from '@mantine/core';
import { useTestConnection } from '@/api/connections';
import { useMay } from '@/api/me';
import { Status } from '@/ui/Status';

/** Tries a connection out, in a row of the list. What exactly is wrong is on its page. */
export function TestCell({ id, name }: { id: string; name: string }) {
  const test = useTestConnection();
  const may = useMay('operator');
  if (!may)
    return (
      <Text size="xs" c="dimmed">
        –
      </Text>
    );
  const told = test.isError
    ? { state: 'failed', label: 'not asked' }
    : test.data === undefined
      ? null
      : test.data.error != null
        ? { state: 'failed', label: 'no answer' }
        : test.data.missing_privileges.length > 0
          ? { state: 'warning', label: 'lacks rights' }
          : test.data.ok
            ? { state: 'succeeded', label: `${Math.round(test.data.latency_ms ?? 0)} ms` }
            : { state: 'failed', label: 'does not work' };
  return (
    <Group gap="xs" wrap="nowrap">
      <Button size="compact-xs" variant="default" loading={test.isPending} aria-label={`Test ${name}`} onClick={() => test.mutate(id)}>
        Test
      </Button>
      <span role="status">{told !== null && <Status {...told} />}</span>
    </Group>
  );
}
