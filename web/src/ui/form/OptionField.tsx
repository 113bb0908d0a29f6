import {
  Button,
  CloseButton,
  Fieldset,
  Group,
  Input,
  NumberInput,
  PasswordInput,
  Select,
  Stack,
  Switch,
  TagsInput,
  Text,
  TextInput,
  Textarea,
} from '@mantine/core';
import { useState } from 'react';
import { isKept } from '@/api/connections';
import { type Path, isObject } from '@/lib/pipelineText';
import type { Field } from '@/lib/schema';
import { About } from './About';
import { Hint } from './Hint';
import { KeyValues } from './KeyValues';
import { YamlField } from './YamlField';

interface Props {
  field: Field;
  value: unknown;
  /** `undefined` takes the option out. The path is below this field. */
  onChange: (path: Path, value: unknown) => void;
}

/** Options that are sentences of SQL or whole texts. */
const LONG = new Set(['query', 'where', 'on', 'description']);

/** One option, drawn by its kind. A value that does not fit the kind (a reference in place of a number) is shown as the text that it is. */
export function OptionField({ field, value, onChange }: Props) {
  const [long] = useState(() => LONG.has(field.name) || (typeof value === 'string' && (value.includes('\n') || value.length > 60)));
  if (isKept(value)) return <Kept field={field} onReplace={() => onChange([], undefined)} />;
  const set = (next: unknown) => onChange([], next === '' || next === null ? undefined : next);
  const common = {
    size: 'xs',
    label: labelOf(field),
    description: field.about === '' ? undefined : <Hint text={field.about} />,
    required: field.required,
  } as const;
  const text = typeof value === 'string' ? value : value === undefined || value === null ? '' : null;
  const hint = typeof field.default === 'string' || typeof field.default === 'number' ? String(field.default) : undefined;

  if (field.kind === 'group' && (value === undefined || isObject(value))) {
    return (
      <Fieldset
        legend={
          <Text size="xs" fw={600}>
            {field.name}
          </Text>
        }
        p="xs"
      >
        <Stack gap="xs">
          {field.fields.map((inner) => {
            const key = present(inner, value);
            return (
              <OptionField
                key={inner.name}
                field={inner}
                value={valueAt(value, key)}
                onChange={(path, next) => onChange([key, ...path], next)}
              />
            );
          })}
        </Stack>
      </Fieldset>
    );
  }
  if (field.kind === 'boolean' && (value === undefined || value === null || typeof value === 'boolean'))
    return <Truth field={field} value={value ?? undefined} onChange={set} />;
  if (field.kind === 'choice' && text !== null) {
    const data = field.choices.some((choice) => choice.value === text) || text === '' ? field.choices : [...field.choices, { value: text }];
    return (
      <Select
        {...common}
        clearable={!field.required}
        searchable
        placeholder={hint}
        data={data.map((choice) => choice.value)}
        value={text === '' ? null : text}
        onChange={set}
        renderOption={({ option }) => (
          <div>
            <Text size="xs">{option.value}</Text>
            <Text size="xs" c="dimmed">
              <About text={data.find((choice) => choice.value === option.value)?.about ?? ''} />
            </Text>
          </div>
        )}
      />
    );
  }
  if ((field.kind === 'integer' || field.kind === 'number') && (typeof value === 'number' || value === undefined || value === null)) {
    return (
      <NumberInput
        {...common}
        placeholder={hint}
        allowDecimal={field.kind === 'number'}
        min={field.minimum}
        max={field.maximum}
        clampBehavior="none"
        value={value ?? ''}
        onChange={set}
      />
    );
  }
  if (
    field.kind === 'list' &&
    (value === undefined || value === null || (Array.isArray(value) && value.every((item) => typeof item === 'string')))
  ) {
    return (
      <TagsInput
        {...common}
        splitChars={[]}
        value={(value as string[] | null) ?? []}
        onChange={(items) => set(items.length === 0 ? undefined : items)}
        placeholder="Enter adds one"
      />
    );
  }
  if (field.kind === 'map' && (value === undefined || isObject(value))) {
    return (
      <KeyValues
        {...common}
        value={(value as Record<string, unknown>) ?? NOTHING}
        onChange={(map) => set(Object.keys(map).length === 0 ? undefined : map)}
      />
    );
  }
  if (text === null || field.kind === 'yaml' || field.kind === 'group') return <YamlField {...common} value={value} onChange={set} />;
  const changed = (event: { currentTarget: { value: string } }) => set(event.currentTarget.value);
  if (field.secret) return <PasswordInput {...common} autoComplete="off" value={text} onChange={changed} />;
  if (long) return <Textarea {...common} autosize maxRows={16} spellCheck={false} value={text} onChange={changed} styles={MONO} />;
  return <TextInput {...common} placeholder={hint} spellCheck={false} value={text} onChange={changed} />;
}

const NOTHING = {};
const MONO = { input: { fontFamily: 'var(--mantine-font-family-monospace)' } };

const labelOf = (field: Field) => (field.unit === undefined ? field.name : `${field.name} (${field.unit})`);

const valueAt = (value: unknown, key: string) => (isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined);

/** The spelling of an option that a file uses, else its own name. */
export const present = (field: Field, value: unknown): string =>
  isObject(value) ? ([field.name, ...field.aliases].find((name) => Object.hasOwn(value, name)) ?? field.name) : field.name;

function Truth({ field, value, onChange }: { field: Field; value: boolean | undefined; onChange: (value: boolean | undefined) => void }) {
  return (
    <Group gap="xs" align="flex-start" wrap="nowrap">
      <Switch
        size="xs"
        label={field.name}
        description={<Hint text={field.about} />}
        checked={value ?? field.default === true}
        onChange={(event) => onChange(event.currentTarget.checked)}
      />
      {value !== undefined && !field.required && (
        <CloseButton size="xs" aria-label={`${field.name}: back to the default`} onClick={() => onChange(undefined)} />
      )}
    </Group>
  );
}

function Kept({ field, onReplace }: { field: Field; onReplace: () => void }) {
  return (
    <Input.Wrapper size="xs" label={field.name} labelElement="div" description={<Hint text={field.about} />}>
      <Group gap="xs" mt={4}>
        <Text size="xs">Stored. It is never shown.</Text>
        <Button size="compact-xs" variant="default" aria-label={`Replace ${field.name}`} onClick={onReplace}>
          Replace
        </Button>
      </Group>
    </Input.Wrapper>
  );
}
