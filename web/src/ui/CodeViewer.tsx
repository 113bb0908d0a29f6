import { yaml } from '@codemirror/lang-yaml';
import { HighlightStyle, syntaxHighlighting } from '@codemirror/language';
import { unifiedMergeView } from '@codemirror/merge';
import { EditorState, type Extension } from '@codemirror/state';
import { EditorView, lineNumbers } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { useEffect, useRef } from 'react';

const colours = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: 'var(--weir-busy)' },
  { tag: [tags.string, tags.content], color: 'var(--mantine-color-text)' },
  { tag: [tags.number, tags.bool, tags.null], color: 'var(--weir-warning)' },
  { tag: tags.comment, color: 'var(--mantine-color-dimmed)', fontStyle: 'italic' },
]);

/** The look of all code here; colours follow the page's scheme. */
export const look: Extension = [
  yaml(),
  syntaxHighlighting(colours),
  EditorView.lineWrapping,
  EditorView.theme({
    '&': { fontSize: '12.5px', border: '1px solid var(--mantine-color-default-border)', borderRadius: '4px', backgroundColor: 'var(--mantine-color-body)', color: 'var(--mantine-color-text)' },
    '&.cm-focused': { outline: '2px solid var(--mantine-primary-color-filled)' },
    '.cm-scroller': { fontFamily: 'var(--mantine-font-family-monospace)', lineHeight: '1.55' },
    '.cm-content': { caretColor: 'var(--mantine-color-text)' },
    '.cm-gutters': { backgroundColor: 'var(--weir-surface)', color: 'var(--mantine-color-dimmed)', border: 'none' },
    '.cm-changedLine, .cm-insertedLine': { backgroundColor: 'color-mix(in srgb, var(--weir-good) 8%, transparent) !important' },
    '.cm-deletedChunk': { backgroundColor: 'color-mix(in srgb, var(--weir-bad) 8%, transparent) !important' },
    'ins.cm-insertedLine, del.cm-deletedLine': { background: 'none !important' },
    '.cm-changedText, .cm-deletedText': { background: 'none !important', textDecoration: 'underline' },
  }),
];

export default function CodeViewer({ text, before, label }: { text: string; before: string | undefined; label: string }) {
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (host.current === null) return;
    const difference = before === undefined ? [] : unifiedMergeView({ original: before, mergeControls: false, gutter: true, collapseUnchanged: { margin: 3, minSize: 6 } });
    const view = new EditorView({
      parent: host.current,
      state: EditorState.create({
        doc: text,
        extensions: [lineNumbers(), look, EditorState.readOnly.of(true), EditorView.contentAttributes.of({ 'aria-label': label, 'aria-readonly': 'true' }), difference],
      }),
    });
    return () => view.destroy();
  }, [text, before, label]);
  return <div ref={host} />;
}
