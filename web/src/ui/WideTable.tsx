import { ScrollArea, Table } from '@mantine/core';
import type { ReactNode } from 'react';

interface Props {
  label: string;
  /** Narrower than this it is moved sideways, by keyboard too. */
  minWidth: number;
  children: ReactNode;
}

/** A table that keeps its columns readable on narrow screens. */
export function WideTable({ label, minWidth, children }: Props) {
  return (
    <ScrollArea type="auto" offsetScrollbars="x" viewportProps={{ tabIndex: 0, role: 'region', 'aria-label': label }}>
      <Table miw={minWidth} aria-label={label}>
        {children}
      </Table>
    </ScrollArea>
  );
}
