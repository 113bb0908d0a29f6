import { Button, Group, Paper, Select, Stack, Text, TextInput } from '@mantine/core';
import { type FormEvent, useState } from 'react';
import { useNavigate } from 'react-router';
import { paths } from '@/app/paths';
import { type Connection, type ConnectionBody, useSaveConnection, useTestDraft } from '@/api/connections';
import { useConnectors } from '@/api/connectors';
import { useMay } from '@/api/me';
import { usePipelineSchema } from '@/api/pipelines';
import type { Path } from '@/lib/pipelineText';
import { fieldsOf } from '@/lib/schema';
import { SchemaForm } from '@/ui/form/SchemaForm';
import { TestResult } from '@/ui/TestResult';
import { done } from '@/ui/notify';
import { Asked, Failure } from '@/ui/states';
import { changed } from './options';

/** What usually must be said of a system. */
const FIRST = [
  'url',
  'host',
  'port',
  'database',
  'user',
  'password',
  'endpoint',
  'bucket',
  'bootstrap_servers',
  'base_url',
  'servers',
  'access_key',
  'secret_key',
  'region',
];

/** A connection as a form, drawn from the connector's schema. Secrets go in and never come out; it can be tried out before it is stored. */
export function ConnectionForm({ before }: { before: Connection | null }) {
  const [body, setBody] = useState<ConnectionBody>(() =>
    before === null ? { name: '', kind: '', options: {} } : { name: before.name, kind: before.kind, options: before.options },
  );
  const connectors = useConnectors();
  const schema = usePipelineSchema();
  const save = useSaveConnection();
  const test = useTestDraft();
  const may = useMay('editor');
  const navigate = useNavigate();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate(
      { body, before },
      {
        onSuccess: (saved) => {
          done(before === null ? `${saved.name} was stored` : `${saved.name} was changed`);
          if (before === null) void navigate(paths.connection(saved.id));
        },
      },
    );
  };
  const definition = schema.data?.$defs?.[`connection.${body.kind}`];
  const about = connectors.data?.find((connector) => connector.name === body.kind)?.summary;
  const set = (path: Path, value: unknown) => setBody((old) => ({ ...old, options: changed(old.options, path, value) }));
  return (
    <Paper component="form" withBorder p="md" maw={720} onSubmit={submit}>
      <Stack gap="sm">
        <Asked query={connectors} what="Reading the connectors">
          {(all) => (
            <Group grow align="flex-start" preventGrowOverflow={false}>
              <TextInput
                label="Name"
                description="What pipelines write after connection:"
                required
                maxLength={63}
                pattern="[A-Za-z][A-Za-z0-9_\-]*"
                miw={200}
                spellCheck={false}
                disabled={before !== null}
                value={body.name}
                onChange={(event) => setBody({ ...body, name: event.currentTarget.value })}
              />
              <Select
                label="Connector"
                description={about ?? 'The system'}
                required
                searchable
                allowDeselect={false}
                miw={200}
                disabled={before !== null}
                data={all.map((connector) => connector.name).sort()}
                value={body.kind === '' ? null : body.kind}
                onChange={(kind) => setBody({ ...body, kind: kind ?? '', options: {} })}
              />
            </Group>
          )}
        </Asked>
        {body.kind !== '' && (
          <Asked query={schema} what="Reading its options">
            {(root) => (
              <SchemaForm
                key={body.kind}
                fields={definition === undefined ? [] : fieldsOf(definition, root)}
                value={body.options}
                onChange={set}
                first={FIRST}
              />
            )}
          </Asked>
        )}
        <Text size="xs" c="dimmed">
          Secrets are sealed when they are stored and never shown again. A value may also be a reference: {'{{name}}'} or vault://path#key.
        </Text>
        {save.isError && <Failure error={save.error} />}
        {test.isError && <Failure error={test.error} />}
        {test.data !== undefined && <TestResult test={test.data} />}
        {may ? (
          <Group>
            <Button type="submit" loading={save.isPending} disabled={body.kind === '' || body.name === ''}>
              {before === null ? 'Store' : 'Save'}
            </Button>
            <Button
              variant="default"
              loading={test.isPending}
              disabled={body.kind === ''}
              onClick={() => test.mutate({ ...body, name: body.name === '' ? 'draft' : body.name })}
            >
              Test
            </Button>
          </Group>
        ) : (
          <Text size="sm" c="dimmed">
            Your role may look at connections, not change them.
          </Text>
        )}
      </Stack>
    </Paper>
  );
}
