import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { bracketMatching } from '@codemirror/language';
import { lintGutter, setDiagnostics } from '@codemirror/lint';
import { EditorState } from '@codemirror/state';
import { EditorView, drawSelection, keymap, lineNumbers } from '@codemirror/view';
import { useEffect, useRef } from 'react';
import type { ProblemPart } from '@/api/refusal';
import { marked } from '@/ui/marks';
import { look } from '@/ui/CodeViewer';

interface Props {
  text: string;
  onChange: (text: string) => void;
  problems: ProblemPart[];
}

/** A record as text, with what the server says of its columns at their places. Tab leaves the editor. */
export default function RecordEditor({ text, onChange, problems }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const changed = useRef(onChange);
  changed.current = onChange;
  useEffect(() => {
    if (host.current === null) return;
    const made = new EditorView({
      parent: host.current,
      state: EditorState.create({
        doc: text,
        extensions: [
          lineNumbers(),
          lintGutter(),
          history(),
          drawSelection(),
          bracketMatching(),
          keymap.of([...defaultKeymap, ...historyKeymap]),
          look,
          EditorView.theme({ '.cm-scroller': { maxHeight: '48dvh', overflow: 'auto' } }),
          EditorView.contentAttributes.of({ 'aria-label': 'Corrected record', spellcheck: 'false', autocorrect: 'off', autocapitalize: 'off' }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) changed.current(update.state.doc.toString());
          }),
        ],
      }),
    });
    view.current = made;
    made.focus();
    return () => {
      made.destroy();
      view.current = null;
    };
    // The text goes in once; what comes later is written here.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, []);
  useEffect(() => {
    const editor = view.current;
    if (editor !== null) editor.dispatch(setDiagnostics(editor.state, problems.flatMap((problem) => marked(problem, editor.state.doc))));
  }, [problems]);
  return <div ref={host} />;
}
