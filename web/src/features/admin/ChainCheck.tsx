import { Button, Group, Text } from '@mantine/core';
import { useVerifyAudit } from '@/api/audit';
import { count } from '@/lib/format';
import { Status } from '@/ui/Status';

/** Whether the log is as it was written: each row holds a hash of itself and of the row before. */
export function ChainCheck() {
  const check = useVerifyAudit();
  const { data } = check;
  return (
    <Group gap="sm">
      <Text component="div" size="sm" role="status">
        {check.isError && <Status state="failed" label={`it could not be checked: ${check.error.message}`} />}
        {data !== undefined && data.whole && <Status state="succeeded" label={`${count(data.rows)} rows, all as they were written`} />}
        {data !== undefined && !data.whole && (
          <>
            <Status state="failed" label={`broken at row ${data.broken_seq ?? '?'}: ${data.why ?? ''}`} />
            <Text size="xs" c="dimmed">
              Compare with a backup: rows from there on cannot be trusted.
            </Text>
          </>
        )}
      </Text>
      <Button size="compact-sm" variant="default" loading={check.isPending} onClick={() => check.mutate()}>
        Check the chain
      </Button>
    </Group>
  );
}
