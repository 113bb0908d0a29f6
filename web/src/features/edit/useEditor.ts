import { useDebouncedValue } from '@mantine/hooks';
import { useCallback, useMemo, useState } from 'react';
import { usePipelineSchema, useValidation } from '@/api/pipelines';
import { type PipelineText, read } from '@/lib/pipelineText';

/** The text that is being written, what it means, and what the server's checker says of it. */
export function useEditor(initial: string) {
  const [text, setText] = useState(initial);
  const parsed = useMemo(() => read(text), [text]);
  const [settled] = useDebouncedValue(text, 250);
  const validation = useValidation(settled);
  const schema = usePipelineSchema();
  /** A change by the form: the text that comes of the text that is. */
  const edit = useCallback((change: (from: PipelineText) => string) => setText((old) => change(read(old))), []);
  return {
    text,
    setText,
    edit,
    parsed,
    schema,
    validation,
    /** Of this text; of an older one while the newest is looked at. */
    problems: validation.data?.diagnostics ?? NONE,
    /** Whether the checker has seen the text as it is. */
    checked: settled === text && !validation.isPlaceholderData && validation.isSuccess,
    dirty: text !== initial,
  };
}

export type EditorState = ReturnType<typeof useEditor>;
const NONE: never[] = [];
