import { Box, Button, Grid, SegmentedControl, Skeleton, Stack, Tabs, Text } from '@mantine/core';
import { Suspense, lazy, useEffect, useRef, useState } from 'react';
import { useBlocker, useNavigate } from 'react-router';
import { paths } from '@/app/paths';
import type { Job } from '@/api/jobs';
import { useMay } from '@/api/me';
import { useSavePipeline } from '@/api/pipelines';
import { Refusal } from '@/api/refusal';
import { Page } from '@/ui/Page';
import { Status } from '@/ui/Status';
import { done } from '@/ui/notify';
import { Asked, Failure } from '@/ui/states';
import classes from './Editor.module.css';
import { Leaving } from './Leaving';
import { PipelineForm } from './PipelineForm';
import { PlanPanel } from './PlanPanel';
import { PreviewPanel } from './PreviewPanel';
import { Problems } from './Problems';
import { SettingsForm } from './SettingsForm';
import { envelope, settingsOf } from './envelope';
import { type EditorState, useEditor } from './useEditor';

const YamlEditor = lazy(() => import('./YamlEditor'));

/** A pipeline that is being written: as a form and as text, one beside the other, with what the checker, the planner and the rows say of it. */
export function Editor({ job, initial }: { job: Job | null; initial: string }) {
  const editor = useEditor(initial);
  const [settings, setSettings] = useState(() => settingsOf(job));
  const [side, setSide] = useState('form');
  const save = useSavePipeline();
  const navigate = useNavigate();
  const may = useMay('editor');
  const changed = editor.dirty || JSON.stringify(settings) !== JSON.stringify(settingsOf(job));
  // Not a state: the way to the saved pipeline is gone before the next drawing.
  const saved = useRef(false);
  const blocker = useBlocker(
    ({ currentLocation, nextLocation }) => changed && !saved.current && currentLocation.pathname !== nextLocation.pathname,
  );
  useEffect(() => {
    const stay = (event: BeforeUnloadEvent) => {
      if (!saved.current) event.preventDefault();
    };
    if (!changed) return;
    window.addEventListener('beforeunload', stay);
    return () => window.removeEventListener('beforeunload', stay);
  }, [changed]);

  const errors = editor.problems.filter((problem) => problem.severity !== 'warning').length;
  const idle = editor.text.trim() === '' || (job !== null && !changed);
  const ready = editor.checked && editor.validation.data?.valid === true;
  const store = () =>
    save.mutate(
      { job: job === null ? null : { id: job.id, revision: job.revision }, body: envelope(job, editor.text, settings) },
      {
        onSuccess: (now) => {
          saved.current = true;
          done(
            job === null
              ? `${now.name} was created`
              : now.version === job.version
                ? 'Its settings were saved'
                : `Version ${now.version} was saved`,
          );
          void navigate(paths.pipeline(now.id));
        },
      },
    );
  return (
    <Page
      title={job === null ? 'New pipeline' : `Edit ${job.name}`}
      aside={<State editor={editor} errors={errors} />}
      actions={
        <>
          <Button
            variant="default"
            size="compact-md"
            onClick={() => void navigate(job === null ? paths.pipelines : paths.pipeline(job.id))}
          >
            Cancel
          </Button>
          <Button size="compact-md" loading={save.isPending} disabled={!may || idle || (editor.checked && errors > 0)} onClick={store}>
            {job === null ? 'Create' : 'Save'}
          </Button>
        </>
      }
    >
      <Leaving blocker={blocker} />
      {save.isError && (save.error instanceof Refusal && save.error.status === 412 ? <Overtaken /> : <Failure error={save.error} />)}
      <SegmentedControl
        hiddenFrom="md"
        size="xs"
        aria-label="Side"
        value={side}
        onChange={setSide}
        data={[
          { value: 'form', label: 'Form' },
          { value: 'text', label: 'Text' },
        ]}
      />
      <Grid gap="md">
        <Grid.Col span={{ base: 12, md: 5 }} visibleFrom={side === 'form' ? undefined : 'md'}>
          <Stack gap="md">
            <Asked query={editor.schema} what="Reading what may stand in a pipeline">
              {(schema) => <PipelineForm editor={editor} root={schema} />}
            </Asked>
            {settings !== null && <SettingsForm settings={settings} onChange={setSettings} />}
          </Stack>
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 7 }}>
          <div className={classes.side}>
            <Box visibleFrom={side === 'text' ? undefined : 'md'} mb="sm">
              <Suspense fallback={<Skeleton h={320} />}>
                <YamlEditor text={editor.text} onChange={editor.setText} problems={editor.problems} schema={editor.schema.data} />
              </Suspense>
            </Box>
            <Tabs defaultValue="problems" keepMounted>
              <Tabs.List>
                <Tabs.Tab value="problems">{editor.problems.length === 0 ? 'Problems' : `Problems (${editor.problems.length})`}</Tabs.Tab>
                <Tabs.Tab value="plan">Plan</Tabs.Tab>
                <Tabs.Tab value="preview">Preview</Tabs.Tab>
              </Tabs.List>
              <Tabs.Panel value="problems" pt="sm">
                {editor.validation.isError ? (
                  <Failure error={editor.validation.error} onRetry={() => void editor.validation.refetch()} />
                ) : (
                  <Problems problems={editor.problems} none="The checker has found nothing." />
                )}
              </Tabs.Panel>
              <Tabs.Panel value="plan" pt="sm">
                <PlanPanel text={editor.text} ready={ready} />
              </Tabs.Panel>
              <Tabs.Panel value="preview" pt="sm">
                <PreviewPanel text={editor.text} ready={ready} />
              </Tabs.Panel>
            </Tabs>
          </div>
        </Grid.Col>
      </Grid>
    </Page>
  );
}

/** What the checker thinks, beside the title. Read out when it changes. */
function State({ editor, errors }: { editor: EditorState; errors: number }) {
  const told =
    editor.text.trim() === ''
      ? { state: 'queued', label: 'empty' }
      : !editor.checked
        ? { state: 'queued', label: 'checking' }
        : errors > 0
          ? { state: 'failed', label: `${errors} ${errors === 1 ? 'error' : 'errors'}` }
          : { state: 'succeeded', label: 'no errors' };
  return (
    <Text component="div" size="sm" role="status">
      <Status {...told} />
    </Text>
  );
}

function Overtaken() {
  return (
    <Text size="sm" c="var(--weir-bad)" role="alert">
      Somebody else has changed this pipeline meanwhile. Keep your text, look at the newest version, and bring the two together.
    </Text>
  );
}
