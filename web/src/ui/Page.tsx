import { Group, Stack, Title } from '@mantine/core';
import { type ReactNode, useEffect } from 'react';

interface Props {
  title: string;
  /** Beside the title: a state, a version. */
  aside?: ReactNode;
  /** At the right: what can be done here. */
  actions?: ReactNode;
  children: ReactNode;
}

/** A page: its name in the window and at the top, what can be done, and what it shows. */
export function Page({ title, aside, actions, children }: Props) {
  useEffect(() => {
    document.title = `${title.slice(0, 100)} · Weir`;
  }, [title]);
  return (
    <Stack gap="sm">
      <Group justify="space-between" gap="xs" mih={36}>
        <Group gap="sm" miw={0} style={{ flex: '1 1 240px' }}>
          <Title order={1} lineClamp={2} dir="auto">
            {title}
          </Title>
          {aside}
        </Group>
        {actions !== undefined && <Group gap="xs">{actions}</Group>}
      </Group>
      {children}
    </Stack>
  );
}
