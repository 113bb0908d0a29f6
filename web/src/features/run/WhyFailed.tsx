import { Alert, Code, List, Stack, Text } from '@mantine/core';
import { IconAlertTriangle } from '@tabler/icons-react';
import type { Run } from '@/api/runs';
import { errorOf, reportOf } from '@/lib/runs';

/** Why a run failed, with what can be done; and what it warned of. */
export function WhyFailed({ run }: { run: Run }) {
  const error = errorOf(run);
  const warnings = reportOf(run)?.warnings ?? [];
  return (
    <>
      {error !== null && (
        <Alert color="red" role="alert" icon={<IconAlertTriangle size={18} aria-hidden />} title={error.message}>
          <Stack gap={4}>
            {error.place && (
              <Text size="sm">
                At <Code>{error.place}</Code>
              </Text>
            )}
            {error.cause && <Text size="sm">Because {error.cause}</Text>}
            {error.hint && (
              <Text size="sm" fw={600}>
                {error.hint}
              </Text>
            )}
            <Text size="xs" c="dimmed">
              {error.code}
            </Text>
          </Stack>
        </Alert>
      )}
      {warnings.length > 0 && (
        <Alert color="yellow" variant="outline" p="xs" title="Worth knowing">
          <List size="sm">
            {warnings.map((warning) => (
              <List.Item key={warning}>{warning}</List.Item>
            ))}
          </List>
        </Alert>
      )}
    </>
  );
}
