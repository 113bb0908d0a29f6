import { NumberInput, Select, Switch, TagsInput, TextInput, Textarea } from '@mantine/core';
import { useConnections } from '@/api/connections';
import type { Parameter } from '@/api/templates';
import { About } from '@/ui/form/About';
import { KeyValues } from '@/ui/form/KeyValues';

interface Props {
  parameter: Parameter;
  value: unknown;
  error: string | undefined;
  onChange: (value: unknown) => void;
}

const NOTHING = {};

/** One parameter of a template, by its type. */
export function ParameterField({ parameter, value, error, onChange }: Props) {
  const common = {
    size: 'sm',
    label: parameter.name,
    description: <About text={parameter.description} />,
    required: parameter.required,
    error,
    placeholder: typeof parameter.example === 'string' || typeof parameter.example === 'number' ? String(parameter.example) : undefined,
  } as const;
  const text = typeof value === 'string' ? value : '';
  switch (parameter.type) {
    case 'boolean':
      return (
        <Switch
          label={parameter.name}
          description={common.description}
          checked={value === true}
          onChange={(event) => onChange(event.currentTarget.checked)}
        />
      );
    case 'integer':
      return (
        <NumberInput
          {...common}
          allowDecimal={false}
          value={typeof value === 'number' ? value : ''}
          onChange={(next) => onChange(next === '' ? undefined : next)}
        />
      );
    case 'choice':
      return (
        <Select
          {...common}
          data={parameter.choices ?? []}
          value={text === '' ? null : text}
          onChange={(next) => onChange(next ?? undefined)}
        />
      );
    case 'connection':
      return <ConnectionParameter {...common} kind={parameter.kind ?? null} value={text} onChange={onChange} />;
    case 'list':
      return (
        <TagsInput
          {...common}
          splitChars={[]}
          value={Array.isArray(value) ? (value as string[]) : []}
          onChange={(items) => onChange(items.length === 0 ? undefined : items)}
        />
      );
    case 'map':
      return (
        <KeyValues
          label={parameter.name}
          description={common.description}
          required={parameter.required}
          value={typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : NOTHING}
          onChange={onChange}
        />
      );
    case 'text':
      return (
        <Textarea
          {...common}
          autosize
          maxRows={10}
          spellCheck={false}
          value={text}
          onChange={(event) => onChange(event.currentTarget.value)}
        />
      );
    default:
      return <TextInput {...common} spellCheck={false} value={text} onChange={(event) => onChange(event.currentTarget.value)} />;
  }
}

interface ConnectionProps {
  kind: string | null;
  value: string;
  onChange: (value: unknown) => void;
  label: string;
  required?: boolean;
  error?: string;
  description: React.ReactNode;
}

/** A stored connection of the right kind. */
function ConnectionParameter({ kind, value, onChange, ...common }: ConnectionProps) {
  const connections = useConnections();
  const names = (connections.data?.pages.flatMap((page) => page.items) ?? [])
    .filter((one) => kind === null || one.kind === kind)
    .map((one) => one.name);
  return (
    <Select
      {...common}
      searchable
      data={names}
      value={value === '' ? null : value}
      onChange={(next) => onChange(next ?? undefined)}
      nothingFoundMessage={kind === null ? 'No connection is stored' : `No connection of ${kind} is stored yet`}
      placeholder={names.length === 0 ? 'none stored yet' : undefined}
    />
  );
}
