import { Paper, Text } from '@mantine/core';
import type { ReactNode } from 'react';

interface Props {
  label: string;
  value: ReactNode;
  /** Below the value, in small. */
  note?: ReactNode;
}

/** One number with its name. */
export function Tile({ label, value, note }: Props) {
  return (
    <Paper withBorder p="xs" component="section" aria-label={label}>
      <Text size="xs" c="dimmed">
        {label}
      </Text>
      <Text size="xl" fw={600} className="numbers" lh={1.4} component="div">
        {value}
      </Text>
      <Text size="xs" c="dimmed" className="numbers" component="div" mih={18}>
        {note}
      </Text>
    </Paper>
  );
}
