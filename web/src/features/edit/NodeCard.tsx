import { Accordion, ActionIcon, Group, Select, Stack, Text, TextInput } from '@mantine/core';
import { IconArrowDown, IconArrowUp, IconTrash } from '@tabler/icons-react';
import { type Path, isObject, move, rename, set, unset } from '@/lib/pipelineText';
import { type Schema, fieldsOf, kindNamed, kindsOf } from '@/lib/schema';
import { Hint } from '@/ui/form/Hint';
import { SchemaForm } from '@/ui/form/SchemaForm';
import { ConnectionPick, declaredOf } from './ConnectionPick';
import { type NodeAt, definition, formOf } from './nodes';
import type { EditorState } from './useEditor';

interface Props {
  id: string;
  node: NodeAt;
  editor: EditorState;
  root: Schema;
  /** For transforms in a list. */
  position?: { index: number; of: number };
}

/** What usually is chosen first of a node. */
const FIRST = ['table', 'tables', 'path', 'query', 'topic', 'url', 'where', 'columns', 'write_mode', 'key', 'cursor', 'format'];

/** One source, transform or sink: what it is, its connection, its options. */
export function NodeCard({ id, node, editor, root, position }: Props) {
  const { fields, value, at, bare } = formOf(node, root);
  const schema = definition(node, root);
  const connectionSchema = node.part === 'transform' || node.kind === null ? undefined : root.$defs?.[`connection.${node.kind}`];
  const connectionFields = connectionSchema === undefined ? [] : fieldsOf(connectionSchema, root);
  const usesStored = typeof value.connection === 'string';
  const shown = fields.filter(
    (field) =>
      field.name !== 'connection' &&
      !(usesStored && connectionFields.some((one) => one.name === field.name) && !Object.hasOwn(value, field.name)),
  );
  const change = (path: Path, next: unknown) =>
    editor.edit((from) => {
      if (bare !== null && !(path.length === 1 && path[0] === bare.option))
        return set(from, [...node.path, node.word], withValue({ [bare.option]: bare.text }, path, next));
      return next === undefined ? unset(from, at(path)) : set(from, at(path), next);
    });
  const title = node.name ?? node.word;
  const list = node.path.slice(0, -1);
  return (
    <Accordion.Item value={id}>
      <Group wrap="nowrap" gap={0}>
        <Accordion.Control>
          <Group gap="xs" wrap="nowrap">
            <Text size="sm" fw={600} truncate maw={220}>
              {title === '' ? '(nothing chosen)' : title}
            </Text>
            {node.name !== null && (
              <Text size="xs" c="dimmed" truncate>
                {node.word}
              </Text>
            )}
          </Group>
        </Accordion.Control>
        {position !== undefined && (
          <>
            <ActionIcon
              variant="subtle"
              color="gray"
              aria-label={`Move ${title} up`}
              disabled={position.index === 0}
              onClick={() => editor.edit((from) => move(from, list, position.index, position.index - 1))}
            >
              <IconArrowUp size={15} aria-hidden />
            </ActionIcon>
            <ActionIcon
              variant="subtle"
              color="gray"
              aria-label={`Move ${title} down`}
              disabled={position.index === position.of - 1}
              onClick={() => editor.edit((from) => move(from, list, position.index, position.index + 1))}
            >
              <IconArrowDown size={15} aria-hidden />
            </ActionIcon>
          </>
        )}
        <ActionIcon
          variant="subtle"
          color="gray"
          aria-label={`Remove ${title}`}
          onClick={() => editor.edit((from) => unset(from, node.path))}
        >
          <IconTrash size={15} aria-hidden />
        </ActionIcon>
      </Group>
      <Accordion.Panel>
        <Stack gap="sm">
          <Select
            size="xs"
            label={node.part === 'transform' ? 'transform' : 'connector'}
            description={schema?.description === undefined ? undefined : <Hint text={schema.description} />}
            searchable
            allowDeselect={false}
            data={kindsOf(root, node.part)}
            value={node.kind}
            error={node.kind === null && node.word !== '' ? `there is no ${node.part} \`${node.word}\`` : undefined}
            onChange={(kind) =>
              kind !== null &&
              kind !== node.kind &&
              editor.edit((from) => (node.word === '' ? set(from, [...node.path, kind], {}) : rename(from, node.path, node.word, kind, {})))
            }
          />
          {node.kind !== null && connectionSchema !== undefined && fields.some((field) => field.name === 'connection') && (
            <ConnectionPick
              key={node.kind}
              kind={node.kind}
              options={value}
              fields={connectionFields}
              declared={declaredOf(editor.parsed.value, (word) => kindNamed(root, 'connection', word) === node.kind)}
              onChange={(name) => change(['connection'], name)}
            />
          )}
          {node.kind !== null && <SchemaForm key={node.kind} fields={shown} value={value} onChange={change} first={FIRST} />}
          {node.part !== 'source' && <Input node={node} editor={editor} />}
        </Stack>
      </Accordion.Panel>
    </Accordion.Item>
  );
}

/** Options with one more value; for a bare text that becomes a map. */
function withValue(options: Record<string, unknown>, path: Path, value: unknown): Record<string, unknown> {
  const [key, ...rest] = path;
  if (key === undefined || value === undefined) return options;
  return { ...options, [key]: rest.length === 0 ? value : withValue({}, rest, value) };
}

/** Which node is read. Text that is a list in the file is left to the file. */
function Input({ node, editor }: { node: NodeAt; editor: EditorState }) {
  const entry = node.path.reduce<unknown>(
    (found, key) => (Array.isArray(found) ? found[key as number] : isObject(found) ? found[key] : undefined),
    editor.parsed.value,
  );
  const input = isObject(entry) ? entry.input : undefined;
  if (input !== undefined && typeof input !== 'string')
    return (
      <Text size="xs" c="dimmed">
        Its inputs are in the text.
      </Text>
    );
  return (
    <TextInput
      size="xs"
      label="input"
      description="The node that is read. By default the one before."
      value={input ?? ''}
      onChange={(event) => {
        const name = event.currentTarget.value;
        editor.edit((from) => (name === '' ? unset(from, [...node.path, 'input']) : set(from, [...node.path, 'input'], name)));
      }}
    />
  );
}
