import { ActionIcon, Button, Group, Input, Stack, TextInput } from '@mantine/core';
import { IconPlus, IconX } from '@tabler/icons-react';
import { type ReactNode, useState } from 'react';

interface Props {
  label: string;
  description?: ReactNode;
  required?: boolean;
  value: Record<string, unknown>;
  onChange: (value: Record<string, string>) => void;
}

type Row = [key: string, value: string];

/** A map of texts, row by row. A row without a name is not part of it yet. */
export function KeyValues({ label, description, required, value, onChange }: Props) {
  const [rows, setRows] = useState<Row[]>(() => rowsOf(value));
  const [seen, setSeen] = useState(value);
  // The map was changed elsewhere, in the text beside the form.
  if (seen !== value) {
    setSeen(value);
    if (JSON.stringify(mapOf(rows)) !== JSON.stringify(value)) setRows(rowsOf(value));
  }
  const become = (next: Row[]) => {
    setRows(next);
    onChange(mapOf(next));
  };
  const change = (index: number, row: Row) => become(rows.map((old, i) => (i === index ? row : old)));
  return (
    <Input.Wrapper label={label} description={description} withAsterisk={required} labelElement="div" role="group" aria-label={label}>
      <Stack gap={4} mt={4}>
        {rows.map(([key, text], index) => (
          <Group key={index} gap={4} wrap="nowrap">
            <TextInput
              size="xs"
              flex={1}
              aria-label={`${label}: name ${index + 1}`}
              value={key}
              onChange={(event) => change(index, [event.currentTarget.value, text])}
            />
            <TextInput
              size="xs"
              flex={2}
              aria-label={`${label}: value of ${key || index + 1}`}
              value={text}
              onChange={(event) => change(index, [key, event.currentTarget.value])}
            />
            <ActionIcon
              variant="subtle"
              color="gray"
              aria-label={`${label}: remove ${key || index + 1}`}
              onClick={() => become(rows.filter((_, i) => i !== index))}
            >
              <IconX size={14} aria-hidden />
            </ActionIcon>
          </Group>
        ))}
        <Button
          size="compact-xs"
          variant="default"
          w="fit-content"
          leftSection={<IconPlus size={12} aria-hidden />}
          aria-label={`${label}: add`}
          onClick={() => setRows([...rows, ['', '']])}
        >
          Add
        </Button>
      </Stack>
    </Input.Wrapper>
  );
}

const rowsOf = (value: Record<string, unknown>): Row[] => Object.entries(value).map(([key, text]) => [key, String(text ?? '')]);
const mapOf = (rows: Row[]) => Object.fromEntries(rows.filter(([key]) => key !== ''));
