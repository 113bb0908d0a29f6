import { Accordion, Alert, Button, Group, Select, Stack, Text, Title } from '@mantine/core';
import { IconPlus } from '@tabler/icons-react';
import { useState } from 'react';
import { at, isObject, set, unset } from '@/lib/pipelineText';
import { type Field, type Schema, fieldsOf, kindsOf } from '@/lib/schema';
import { About } from '@/ui/form/About';
import { SchemaForm } from '@/ui/form/SchemaForm';
import { NodeCard } from './NodeCard';
import { type Part, freeName, isNative, nodesOf } from './nodes';
import type { EditorState } from './useEditor';

/** Parts of the file that have cards of their own. */
const NODES = new Set(['source', 'sources', 'transforms', 'sink', 'sinks', 'connections']);
const FIRST = ['pipeline', 'mode', 'description', 'schedule'];

/** The pipeline as a form. Each change is a change of the text beside it. */
export function PipelineForm({ editor, root }: { editor: EditorState; root: Schema }) {
  const { value } = editor.parsed;
  if (value === undefined)
    return (
      <Alert color="weir" p="xs" title="The text is no YAML at the moment">
        Mend it there; the form comes back by itself.
      </Alert>
    );
  if (value !== null && !isNative(value)) {
    return (
      <Alert color="weir" p="xs" title="The form edits pipelines that begin with their name">
        This text is in another form, which runs as well. Edit it as text.
        {!isObject(value) || !('name' in value) ? (
          <Button
            mt="xs"
            size="compact-xs"
            variant="default"
            display="block"
            onClick={() => editor.edit((from) => set(from, ['pipeline'], 'new_pipeline'))}
          >
            Begin with a name
          </Button>
        ) : null}
      </Alert>
    );
  }
  const fields: Field[] = fieldsOf(root, root).filter((field) => !NODES.has(field.name));
  return (
    <Stack gap="md">
      <SchemaForm
        fields={fields}
        value={value}
        first={FIRST}
        onChange={(path, next) => editor.edit((from) => (next === undefined ? unset(from, path) : set(from, path, next)))}
      />
      {editor.validation.data?.pipeline?.schedule && (
        <Text size="xs" c="dimmed">
          Runs by itself: {editor.validation.data.pipeline.schedule}.
        </Text>
      )}
      <Nodes part="source" title="Sources" editor={editor} root={root} />
      <Nodes part="transform" title="Transforms" editor={editor} root={root} />
      <Nodes part="sink" title="Sinks" editor={editor} root={root} />
    </Stack>
  );
}

function Nodes({ part, title, editor, root }: { part: Part; title: string; editor: EditorState; root: Schema }) {
  const { value } = editor.parsed;
  const nodes = nodesOf(value, part, root);
  const id = (path: (string | number)[]) => path.join('/');
  const [open, setOpen] = useState<string[]>(() => (part === 'transform' ? [] : nodes.map((node) => id(node.path))));
  const many = isObject(value) ? value[`${part}s`] : undefined;
  const list = Array.isArray(many);
  const add = (kind: string) => {
    const single = part !== 'transform' && nodes.length === 0 && many === undefined;
    const name = freeName(kind, isObject(many) ? Object.keys(many) : []);
    const path = single
      ? [part]
      : list
        ? [`${part}s`, many.length]
        : part === 'transform' && !isObject(many)
          ? ['transforms', 0]
          : [`${part}s`, name];
    editor.edit((from) => {
      if (part === 'transform' && !isObject(many) && !list) return set(from, ['transforms'], [{ [kind]: {} }]);
      return single ? set(from, [part, kind], {}) : set(from, path, { [kind]: {} });
    });
    setOpen((before) => [...before, id(path)]);
  };
  const alone = part !== 'transform' && at(value, [part]) !== undefined;
  return (
    <section aria-label={title}>
      <Group justify="space-between" mb={4}>
        <Title order={3}>{title}</Title>
        {alone ? null : <Add part={part} root={root} onAdd={add} />}
      </Group>
      {nodes.length === 0 ? (
        <Text size="xs" c="dimmed">
          {part === 'transform' ? 'None: rows go through as they are.' : 'None yet.'}
        </Text>
      ) : (
        <Accordion multiple variant="separated" value={open} onChange={setOpen} chevronPosition="left" order={4}>
          {nodes.map((node, index) => (
            <NodeCard
              key={id(node.path)}
              id={id(node.path)}
              node={node}
              editor={editor}
              root={root}
              position={list ? { index, of: nodes.length } : undefined}
            />
          ))}
        </Accordion>
      )}
      {alone && nodes.length === 1 && (
        <Text size="xs" c="dimmed" mt={4}>
          <About text={`Several: name them in the text under \`${part}s\`.`} />
        </Text>
      )}
    </section>
  );
}

function Add({ part, root, onAdd }: { part: Part; root: Schema; onAdd: (kind: string) => void }) {
  const [choosing, setChoosing] = useState(false);
  if (!choosing) {
    return (
      <Button
        size="compact-xs"
        variant="default"
        leftSection={<IconPlus size={12} aria-hidden />}
        aria-label={`Add a ${part}`}
        onClick={() => setChoosing(true)}
      >
        Add
      </Button>
    );
  }
  return (
    <Select
      size="xs"
      aria-label={`Kind of the new ${part}`}
      placeholder="What?"
      searchable
      autoFocus
      defaultDropdownOpened
      data={kindsOf(root, part)}
      onBlur={() => setChoosing(false)}
      onChange={(kind) => {
        setChoosing(false);
        if (kind !== null) onAdd(kind);
      }}
    />
  );
}
