import { Anchor, Button, Group, Select, Stack, Text } from '@mantine/core';
import { Link } from 'react-router';
import { paths } from '@/app/paths';
import { useConnections, useTestConnection, useTestDraft } from '@/api/connections';
import { useMay } from '@/api/me';
import { isObject } from '@/lib/pipelineText';
import type { Field } from '@/lib/schema';
import { TestResult } from '@/ui/TestResult';
import { Failure } from '@/ui/states';

interface Props {
  kind: string;
  options: Record<string, unknown>;
  /** Connections that the file itself declares. */
  declared: string[];
  /** The fields of the connection, which a node may also hold itself. */
  fields: Field[];
  onChange: (name: string | undefined) => void;
}

/** Which connection a node uses, and whether it works: a stored one, one of the file, or what the node says itself. */
export function ConnectionPick({ kind, options, declared, fields, onChange }: Props) {
  const connections = useConnections();
  const stored = useTestConnection();
  const draft = useTestDraft();
  const may = useMay('operator');
  const mayDraft = useMay('editor');
  const chosen = typeof options.connection === 'string' ? options.connection : null;
  const fitting = (connections.data?.pages.flatMap((page) => page.items) ?? []).filter((one) => one.kind === kind);
  const names = [...new Set([...fitting.map((one) => one.name), ...declared, ...(chosen === null ? [] : [chosen])])];
  const own = Object.fromEntries(Object.entries(options).filter(([name]) => fields.some((field) => field.name === name)));
  const known = fitting.find((one) => one.name === chosen);
  const test = known === undefined ? draft : stored;
  const canTest =
    known === undefined ? mayDraft && chosen === null && (Object.keys(own).length > 0 || fields.every((field) => !field.required)) : may;
  const ask = () => (known === undefined ? draft.mutate({ name: 'draft', kind, options: own }) : stored.mutate(known.id));
  return (
    <Stack gap={6}>
      <Group gap="xs" align="flex-end">
        <Select
          size="xs"
          flex={1}
          miw={160}
          label="connection"
          description="A stored connection. Without one, the options of the connection stand here."
          placeholder="none"
          clearable
          searchable
          data={names}
          value={chosen}
          onChange={(name) => onChange(name ?? undefined)}
          nothingFoundMessage={`No connection of ${kind} is stored`}
        />
        <Button size="xs" variant="default" loading={stored.isPending || draft.isPending} disabled={!canTest} onClick={ask}>
          Test
        </Button>
      </Group>
      <Text size="xs" c="dimmed">
        <Anchor component={Link} to={paths.newConnection} size="xs" target="_blank">
          Store a new connection
        </Anchor>{' '}
        (in a new tab)
      </Text>
      {connections.isError && <Failure error={connections.error} />}
      {test.isError && <Failure error={test.error} />}
      {test.data !== undefined && <TestResult test={test.data} />}
    </Stack>
  );
}

/** Connections that the file declares for one kind. */
export function declaredOf(value: unknown, isKind: (word: string) => boolean): string[] {
  const declared = isObject(value) && isObject(value.connections) ? value.connections : {};
  return Object.entries(declared).flatMap(([name, entry]) => (isObject(entry) && Object.keys(entry).some(isKind) ? [name] : []));
}
