import { Anchor, Button, Grid, Group, Stack, Text } from '@mantine/core';
import { type FormEvent, useState } from 'react';
import { Link, useNavigate } from 'react-router';
import { paths } from '@/app/paths';
import { Refusal } from '@/api/refusal';
import { type Parameter, useInstantiate, useTemplate } from '@/api/templates';
import { About } from '@/ui/form/About';
import { Code } from '@/ui/Code';
import { Page } from '@/ui/Page';
import { Asked, Failure } from '@/ui/states';
import { ParameterField } from './ParameterField';

/** Fills in a template; what comes of it is a text to go on with. */
export function TemplateParameters({ id }: { id: string }) {
  const template = useTemplate(id);
  return (
    <Page title={template.data?.template.title ?? 'Template'}>
      <Asked query={template}>
        {({ template: { parameters, description }, example }) => (
          <Grid gap="lg">
            <Grid.Col span={{ base: 12, md: 5 }}>
              <Text size="sm" c="dimmed" mb="md">
                <About text={description} />
              </Text>
              <Parameters id={id} parameters={parameters} />
            </Grid.Col>
            <Grid.Col span={{ base: 12, md: 7 }}>
              <Text size="sm" fw={600} mb={4}>
                Such as
              </Text>
              <Code text={example} label="Example of the template" />
            </Grid.Col>
          </Grid>
        )}
      </Asked>
    </Page>
  );
}

function Parameters({ id, parameters }: { id: string; parameters: Parameter[] }) {
  const [values, setValues] = useState<Record<string, unknown>>(() =>
    Object.fromEntries(parameters.filter((parameter) => parameter.default != null).map((parameter) => [parameter.name, parameter.default])),
  );
  const fill = useInstantiate(id);
  const navigate = useNavigate();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    fill.mutate(given(values), { onSuccess: ({ spec }) => void navigate(`${paths.newPipeline}?edit`, { state: { text: spec } }) });
  };
  return (
    <form onSubmit={submit}>
      <Stack gap="sm">
        {fill.isError && <Failure error={fill.error} />}
        {parameters.map((parameter) => (
          <ParameterField
            key={parameter.name}
            parameter={parameter}
            value={values[parameter.name]}
            error={problemOf(fill.error, parameter.name)}
            onChange={(value) => setValues((before) => ({ ...before, [parameter.name]: value }))}
          />
        ))}
        <Group>
          <Button type="submit" loading={fill.isPending}>
            Go on
          </Button>
          <Anchor component={Link} to={paths.newPipeline} size="sm">
            All templates
          </Anchor>
        </Group>
      </Stack>
    </form>
  );
}

const given = (values: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== ''));

function problemOf(error: unknown, name: string): string | undefined {
  if (!(error instanceof Refusal)) return undefined;
  return error.problem.errors?.find((part) => part.path?.split(/[/.]/).at(-1) === name)?.message;
}
