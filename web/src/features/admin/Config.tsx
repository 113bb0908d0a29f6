import { Stack, Table, Text, TextInput } from '@mantine/core';
import { useState } from 'react';
import { type Setting, useConfig } from '@/api/config';
import { Asked, Empty } from '@/ui/states';
import { WideTable } from '@/ui/WideTable';

/** The settings in effect and where each came from. Secrets are hidden. */
export function Config() {
  const config = useConfig();
  const [search, setSearch] = useState('');
  return (
    <Asked query={config}>
      {({ items }) => {
        const found = items.filter((setting) =>
          `${setting.key} ${setting.variables.join(' ')}`.toLowerCase().includes(search.toLowerCase()),
        );
        return (
          <Stack gap="sm">
            <TextInput
              size="xs"
              maw={320}
              aria-label="Search settings"
              placeholder="Search settings"
              value={search}
              onChange={(event) => setSearch(event.currentTarget.value)}
            />
            {found.length === 0 ? (
              <Empty title="No setting has this name" />
            ) : (
              <WideTable label="Settings" minWidth={680}>
                <Table.Thead>
                  <Table.Tr>
                    <Table.Th>Setting</Table.Th>
                    <Table.Th>Value</Table.Th>
                    <Table.Th>From</Table.Th>
                  </Table.Tr>
                </Table.Thead>
                <Table.Tbody>
                  {found.map((setting) => (
                    <Row key={setting.key} setting={setting} />
                  ))}
                </Table.Tbody>
              </WideTable>
            )}
          </Stack>
        );
      }}
    </Asked>
  );
}

export function shownValue(value: unknown): string {
  if (value === null || value === undefined || value === '') return '–';
  if (Array.isArray(value)) return value.length === 0 ? '–' : value.map(shownValue).join(', ');
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function Row({ setting }: { setting: Setting }) {
  const ways = [...setting.variables, ...(setting.flag == null ? [] : [setting.flag])];
  return (
    <Table.Tr>
      <Table.Td>
        <Text span inherit ff="monospace">
          {setting.key}
        </Text>
        {ways.length > 0 && (
          <Text size="xs" c="dimmed">
            {ways.join(', ')}
          </Text>
        )}
      </Table.Td>
      <Table.Td maw={420} style={{ wordBreak: 'break-word' }}>
        {shownValue(setting.value)}
      </Table.Td>
      <Table.Td>
        {setting.origin === 'default' ? (
          <Text span inherit c="dimmed">
            default
          </Text>
        ) : (
          setting.origin
        )}
      </Table.Td>
    </Table.Tr>
  );
}
