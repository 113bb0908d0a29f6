import { type CompletionContext, autocompletion, completionKeymap } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { bracketMatching, foldGutter, foldKeymap, indentOnInput } from '@codemirror/language';
import { lintGutter, lintKeymap, setDiagnostics } from '@codemirror/lint';
import { highlightSelectionMatches, search, searchKeymap } from '@codemirror/search';
import { Annotation, EditorState } from '@codemirror/state';
import { EditorView, drawSelection, keymap, lineNumbers } from '@codemirror/view';
import { useEffect, useRef } from 'react';
import type { ProblemPart } from '@/api/refusal';
import { optionsAt, placeAt } from '@/lib/completion';
import type { Schema } from '@/lib/schema';
import { look } from '@/ui/CodeViewer';
import { marked } from '@/ui/marks';

interface Props {
  text: string;
  onChange: (text: string) => void;
  problems: ProblemPart[];
  schema: Schema | undefined;
}

/** Changes that come from the form, not from the keyboard. */
const fromOutside = Annotation.define<boolean>();

/** The pipeline file as text, with the words that fit where the cursor is, and what the server's checker says at its place. Tab leaves the editor. */
export default function YamlEditor({ text, onChange, problems, schema }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const now = useRef({ onChange, schema });
  now.current = { onChange, schema };

  useEffect(() => {
    if (host.current === null) return;
    const made = new EditorView({ parent: host.current, state: EditorState.create({ doc: text, extensions: extensions(now) }) });
    view.current = made;
    return () => {
      made.destroy();
      view.current = null;
    };
    // The text goes in once; what comes later is a change of it.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, []);

  useEffect(() => {
    const editor = view.current;
    if (editor === null) return;
    const change = difference(editor.state.doc.toString(), text);
    if (change !== null) editor.dispatch({ changes: change, annotations: fromOutside.of(true) });
  }, [text]);

  useEffect(() => {
    const editor = view.current;
    if (editor !== null)
      editor.dispatch(
        setDiagnostics(
          editor.state,
          problems.flatMap((problem) => marked(problem, editor.state.doc)),
        ),
      );
    // The editor itself moves the marks with the text until the next answer.
  }, [problems]);

  return <div ref={host} data-testid="yaml" />;
}

function extensions(now: { current: Pick<Props, 'onChange' | 'schema'> }) {
  const complete = (context: CompletionContext) => {
    const root = now.current.schema;
    const place = root === undefined ? null : placeAt(context.state.doc.sliceString(0, context.pos));
    if (place === null || root === undefined || (place.prefix === '' && !context.explicit)) return null;
    const options = optionsAt(place, root).map(({ label, about, kind }) => ({
      label,
      info: about === '' ? undefined : about,
      type: kind === 'key' ? 'property' : 'enum',
      apply: kind === 'key' ? `${label}: ` : label,
    }));
    return options.length === 0 ? null : { from: context.pos - place.prefix.length, options, validFor: /^[\w.$-]*$/ };
  };
  return [
    lineNumbers(),
    foldGutter(),
    lintGutter(),
    history(),
    drawSelection(),
    indentOnInput(),
    bracketMatching(),
    highlightSelectionMatches(),
    search({ top: true }),
    autocompletion({ override: [complete], icons: false }),
    keymap.of([...defaultKeymap, ...searchKeymap, ...historyKeymap, ...foldKeymap, ...completionKeymap, ...lintKeymap]),
    look,
    popups,
    EditorState.tabSize.of(2),
    EditorView.contentAttributes.of({ 'aria-label': 'Pipeline file', spellcheck: 'false', autocorrect: 'off', autocapitalize: 'off' }),
    EditorView.updateListener.of((update) => {
      const outside = update.transactions.some((transaction) => transaction.annotation(fromOutside) === true);
      if (update.docChanged && !outside) now.current.onChange(update.state.doc.toString());
    }),
  ];
}

const popups = EditorView.theme({
  '&': { minHeight: '280px' },
  '.cm-scroller': { minHeight: '280px', maxHeight: '52dvh', overflow: 'auto' },
  '.cm-tooltip, .cm-panels': {
    backgroundColor: 'var(--mantine-color-body)',
    color: 'var(--mantine-color-text)',
    border: '1px solid var(--mantine-color-default-border)',
  },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]': {
    backgroundColor: 'var(--mantine-primary-color-filled)',
    color: 'var(--mantine-color-white)',
  },
  '.cm-completionInfo': { maxWidth: '360px' },
  '.cm-diagnostic': { whiteSpace: 'pre-wrap', maxWidth: '480px' },
  '.cm-cursor': { borderLeftColor: 'var(--mantine-color-text)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': {
    backgroundColor: 'color-mix(in srgb, var(--weir-busy) 30%, transparent)',
  },
  '.cm-selectionMatch': { backgroundColor: 'color-mix(in srgb, var(--weir-busy) 15%, transparent)' },
});

/** The smallest change that makes one text of the other, so that the cursor stays where it is. */
export function difference(before: string, after: string): { from: number; to: number; insert: string } | null {
  if (before === after) return null;
  const most = Math.min(before.length, after.length);
  let start = 0;
  while (start < most && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < most - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end += 1;
  return { from: start, to: before.length - end, insert: after.slice(start, after.length - end) };
}
