import { Tabs } from '@mantine/core';
import type { ReactNode } from 'react';
import { useNavigate } from 'react-router';

export interface PagePart {
  id: string;
  label: string;
  content: ReactNode;
}

/** Parts of a page, each with a URL of its own. Only the one that is looked at is there. */
export function Parts({ label, parts, current, to }: { label: string; parts: PagePart[]; current: string; to: (id: string) => string }) {
  const navigate = useNavigate();
  return (
    <Tabs value={current} onChange={(id) => id !== null && void navigate(to(id))} keepMounted={false}>
      <Tabs.List aria-label={label}>
        {parts.map((part) => (
          <Tabs.Tab key={part.id} value={part.id}>
            {part.label}
          </Tabs.Tab>
        ))}
      </Tabs.List>
      {parts.map((part) => (
        <Tabs.Panel key={part.id} value={part.id} pt="md">
          {part.content}
        </Tabs.Panel>
      ))}
    </Tabs>
  );
}
