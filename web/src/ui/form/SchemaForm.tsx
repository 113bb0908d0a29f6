import { Button, Collapse, Stack, Text } from '@mantine/core';
import { useState } from 'react';
import { type Path, isObject } from '@/lib/pipelineText';
import type { Field } from '@/lib/schema';
import { OptionField, present } from './OptionField';

interface Props {
  fields: Field[];
  value: unknown;
  onChange: (path: Path, value: unknown) => void;
  /** Shown first although they are neither required nor set. */
  first?: string[];
}

/** Options of one thing: what is required, set or usual, and the rest behind a button. */
export function SchemaForm({ fields, value, onChange, first = [] }: Props) {
  const isSet = (field: Field) => isObject(value) && [field.name, ...field.aliases].some((name) => Object.hasOwn(value, name));
  // Decided once: a field that moved while somebody types into it would lose the cursor.
  const [upper] = useState(
    () => new Set(fields.filter((field) => field.required || isSet(field) || first.includes(field.name)).map((field) => field.name)),
  );
  const [open, setOpen] = useState(upper.size === 0 && fields.length <= 6);
  const rank = (field: Field) => (first.includes(field.name) ? first.indexOf(field.name) : field.required ? -1 : first.length);
  const shown = fields.filter((field) => upper.has(field.name)).sort((a, b) => rank(a) - rank(b));
  const rest = fields.filter((field) => !upper.has(field.name));
  const draw = (field: Field) => {
    const key = present(field, value);
    const inner = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
    return <OptionField key={field.name} field={field} value={inner} onChange={(path, next) => onChange([key, ...path], next)} />;
  };
  if (fields.length === 0)
    return (
      <Text size="xs" c="dimmed">
        It has no options.
      </Text>
    );
  return (
    <Stack gap="sm">
      {shown.map(draw)}
      {rest.length > 0 && (
        <Button size="compact-xs" variant="subtle" w="fit-content" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? 'Fewer options' : `${rest.length} more ${rest.length === 1 ? 'option' : 'options'}`}
        </Button>
      )}
      <Collapse expanded={open}>
        <Stack gap="sm">{open && rest.map(draw)}</Stack>
      </Collapse>
    </Stack>
  );
}
