import { Button, Stack, Text, Title } from '@mantine/core';
import { Component, type ReactNode } from 'react';

/** A mistake in these pages does not leave an empty window. */
export class ErrorBoundary extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state = { error: null as Error | null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    if (this.state.error === null) return this.props.children;
    return <Broken error={this.state.error} />;
  }
}

export function Broken({ error }: { error: unknown }) {
  return (
    <Stack p="lg" gap="xs" align="flex-start" role="alert">
      <Title order={1}>This page broke</Title>
      <Text size="sm">{error instanceof Error ? error.message : String(error)}</Text>
      <Text size="sm" c="dimmed">
        Nothing was changed by it. If it happens again, the text above helps to find the mistake.
      </Text>
      <Button variant="default" onClick={() => window.location.reload()}>
        Load it again
      </Button>
    </Stack>
  );
}
