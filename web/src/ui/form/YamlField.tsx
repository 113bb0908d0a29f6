import { Textarea } from '@mantine/core';
import { type ReactNode, useState } from 'react';
import { asYaml, fromYaml } from '@/lib/pipelineText';

interface Props {
  label: string;
  description?: ReactNode;
  required?: boolean;
  value: unknown;
  onChange: (value: unknown) => void;
}

/** A value that has no field of its own, as YAML. It counts when the field is left. */
export function YamlField({ label, description, required, value, onChange }: Props) {
  const written = asYaml(value);
  const [draft, setDraft] = useState<string | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const leave = () => {
    if (draft === null) return;
    const found = draft.trim() === '' ? { value: undefined } : fromYaml(draft);
    if ('error' in found) {
      setProblem(found.error);
      return;
    }
    setProblem(null);
    setDraft(null);
    if (draft.trim() !== written) onChange(found.value);
  };
  return (
    <Textarea
      size="xs"
      label={label}
      description={description}
      required={required}
      autosize
      minRows={1}
      maxRows={12}
      spellCheck={false}
      placeholder="YAML"
      styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)' } }}
      value={draft ?? written}
      error={problem}
      onChange={(event) => setDraft(event.currentTarget.value)}
      onBlur={leave}
    />
  );
}
