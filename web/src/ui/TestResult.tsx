import { Group, List, Paper, Stack, Text } from '@mantine/core';
import type { ConnectionTest } from '@/api/connections';
import type { ToldError } from '@/api/pipelines';
import { Status } from './Status';
import { Told } from './Told';

interface Check {
  name: string;
  ok: boolean;
  detail: string;
}

/** What a connection said of itself: whether it works, how quickly, which version, and what the credentials may not do. */
export function TestResult({ test }: { test: ConnectionTest }) {
  const checks = test.checks as unknown as Check[];
  if (test.error != null) return <Told error={test.error as ToldError} title="It does not answer" />;
  return (
    <Paper withBorder p="xs" role="status">
      <Stack gap={4}>
        <Group gap="md">
          <Status state={test.ok ? 'succeeded' : 'failed'} label={test.ok ? 'works' : 'does not work yet'} />
          {test.latency_ms != null && <Text size="sm" className="numbers">{`${Math.round(test.latency_ms)} ms`}</Text>}
          {test.server_version && (
            <Text size="sm" c="dimmed">
              {test.server_version}
            </Text>
          )}
        </Group>
        {test.missing_privileges.length > 0 && (
          <div>
            <Text size="sm" fw={600}>
              Missing privileges
            </Text>
            <List size="sm">
              {test.missing_privileges.map((privilege) => (
                <List.Item key={privilege}>{privilege}</List.Item>
              ))}
            </List>
          </div>
        )}
        <List size="xs" listStyleType="none">
          {checks.map((check) => (
            <List.Item key={check.name}>
              <Status state={check.ok ? 'succeeded' : 'failed'} label={check.name} />{' '}
              <Text span size="xs" c="dimmed">
                {check.detail}
              </Text>
            </List.Item>
          ))}
        </List>
      </Stack>
    </Paper>
  );
}
