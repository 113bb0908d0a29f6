import { useLocation, useSearchParams } from 'react-router';
import { useMay, useMe } from '@/api/me';
import { Page } from '@/ui/Page';
import { Empty, Loading } from '@/ui/states';
import { IconLock } from '@tabler/icons-react';
import { Editor } from './Editor';
import { TemplateGallery } from './TemplateGallery';
import { TemplateParameters } from './TemplateParameters';

/** A new pipeline: from a template or from nothing. The text that a template gave is in the history, so that going back leads to the template. */
export default function NewPipelinePage() {
  const [search] = useSearchParams();
  const location = useLocation();
  const me = useMe();
  const may = useMay('editor');
  const template = search.get('template');
  if (me.isPending) return <Loading />;
  if (!may) {
    return (
      <Page title="New pipeline">
        <Empty title="Not for your role" icon={<IconLock size={28} stroke={1.4} aria-hidden />}>
          Pipelines are made by editors. Ask an administrator for that role.
        </Empty>
      </Page>
    );
  }
  if (search.has('edit')) return <Editor job={null} initial={textOf(location.state)} />;
  return template === null ? <TemplateGallery /> : <TemplateParameters key={template} id={template} />;
}

const textOf = (state: unknown) =>
  typeof state === 'object' && state !== null && 'text' in state && typeof state.text === 'string' ? state.text : '';
