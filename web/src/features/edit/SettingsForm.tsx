import { NumberInput, SimpleGrid, Text, Title } from '@mantine/core';
import type { Settings } from './envelope';

/** What the server keeps beside the file: how failed runs are tried again, and how long one may take. */
export function SettingsForm({ settings, onChange }: { settings: Settings; onChange: (settings: Settings) => void }) {
  const field = (name: keyof Settings, label: string, description: string, min: number) => (
    <NumberInput
      size="xs"
      label={label}
      description={description}
      min={min}
      allowDecimal={false}
      thousandSeparator=","
      value={settings[name] ?? ''}
      onChange={(value) =>
        onChange({ ...settings, [name]: typeof value === 'number' ? value : name === 'timeout_secs' ? null : settings[name] })
      }
    />
  );
  return (
    <section aria-label="Settings of the server">
      <Title order={3}>Runs</Title>
      <Text size="xs" c="dimmed" mb="xs">
        These stand beside the file, at the server.
      </Text>
      <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="xs">
        {field('max_attempts', 'Attempts', 'How often a run is tried in all.', 1)}
        {field('timeout_secs', 'Longest run (s)', 'Empty: as the server is set.', 1)}
        {field('backoff_secs', 'Wait before the second (s)', 'Doubled each time.', 0)}
        {field('max_backoff_secs', 'Longest wait (s)', 'However often it failed.', 0)}
      </SimpleGrid>
    </section>
  );
}
