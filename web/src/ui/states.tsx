import { Alert, Button, Center, Code, List, Loader, Stack, Text, Title } from '@mantine/core';
import { IconAlertTriangle, IconInbox, IconLock, IconSearchOff } from '@tabler/icons-react';
import type { ReactNode } from 'react';
import { Refusal } from '@/api/refusal';

/** What a page or a part of it shows while it waits. */
export function Loading({ what = 'Loading' }: { what?: string }) {
  return (
    <Center mih={160} role="status" aria-live="polite" aria-busy>
      <Loader size="sm" aria-hidden />
      <Text ml="sm" c="dimmed" size="sm">
        {what}…
      </Text>
    </Center>
  );
}

/** Nothing is there, and what to do about it. */
export function Empty({ title, children, icon }: { title: string; children?: ReactNode; icon?: ReactNode }) {
  return (
    <Center mih={160} p="md">
      <Stack align="center" gap="xs" maw={480} ta="center">
        {icon ?? <IconInbox size={28} stroke={1.4} aria-hidden />}
        <Text fw={600}>{title}</Text>
        {children !== undefined && (
          <Text component="div" size="sm" c="dimmed">
            {children}
          </Text>
        )}
      </Stack>
    </Center>
  );
}

/** The server does not let the caller see or do this. */
export function Forbidden({ refusal }: { refusal: Refusal }) {
  return (
    <Center mih={200} p="md" role="alert">
      <Stack align="center" gap="xs" maw={480} ta="center">
        <IconLock size={28} stroke={1.4} aria-hidden />
        <Title order={2}>Not for your role</Title>
        <Text size="sm">{refusal.problem.detail}.</Text>
        {refusal.problem.hint && (
          <Text size="sm" c="dimmed">
            {refusal.problem.hint}
          </Text>
        )}
      </Stack>
    </Center>
  );
}

/** Something went wrong: what, and what to do. A refusal for lack of rights or of the thing itself has words of its own. */
export function Failure({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  if (error instanceof Refusal && error.status === 403) return <Forbidden refusal={error} />;
  if (error instanceof Refusal && error.status === 404)
    return (
      <Empty title="There is no such thing" icon={<IconSearchOff size={28} stroke={1.4} aria-hidden />}>
        It was deleted, or it belongs to another tenant.
      </Empty>
    );
  const problem = error instanceof Refusal ? error.problem : null;
  return (
    <Alert color="red" role="alert" icon={<IconAlertTriangle size={18} aria-hidden />} title={error instanceof Error ? error.message : String(error)} my="sm">
      <Stack gap="xs" align="flex-start">
        {problem?.errors && problem.errors.length > 0 && (
          <List size="sm">
            {problem.errors.map((part, index) => (
              <List.Item key={index}>
                {part.path && <Code>{part.path}</Code>} {part.message}
                {part.help && <Text size="xs">{part.help}</Text>}
              </List.Item>
            ))}
          </List>
        )}
        {problem?.hint && <Text size="sm">{problem.hint}</Text>}
        {problem && (
          <Text size="xs" c="dimmed">
            {problem.code}
          </Text>
        )}
        {onRetry && (
          <Button size="compact-sm" variant="default" onClick={onRetry}>
            Try again
          </Button>
        )}
      </Stack>
    </Alert>
  );
}

/** What is looked at of a query, paged or not. */
export interface Question<T> {
  data: T | undefined;
  isError: boolean;
  error: unknown;
  refetch: () => unknown;
}

interface AskedProps<T> {
  query: Question<T>;
  what?: string;
  children: (data: T) => ReactNode;
}

/** A query on the page: loading, failed, or its data. Data that were there stay while they are asked for again. */
export function Asked<T>({ query, what, children }: AskedProps<T>) {
  if (query.data !== undefined) return children(query.data);
  if (query.isError) return <Failure error={query.error} onRetry={() => void query.refetch()} />;
  return <Loading what={what} />;
}
