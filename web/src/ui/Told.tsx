import { Alert, Text } from '@mantine/core';
import type { ToldError } from '@/api/pipelines';

/** What another system said when it was asked: an answer, though not the wished-for one. */
export function Told({ error, title }: { error: ToldError; title?: string }) {
  return (
    <Alert color="red" p="xs" title={title ?? error.message} role="alert">
      {title !== undefined && <Text size="sm">{error.message}</Text>}
      {error.place && <Text size="sm">{error.place}</Text>}
      {error.cause && (
        <Text size="sm" style={{ whiteSpace: 'pre-wrap' }}>
          {error.cause}
        </Text>
      )}
      {error.hint && (
        <Text size="sm" c="dimmed">
          {error.hint}
        </Text>
      )}
      {error.code && (
        <Text size="xs" c="dimmed">
          {error.code}
        </Text>
      )}
    </Alert>
  );
}
