import { Anchor, Button, List, Stack, Text } from '@mantine/core';
import { modals } from '@mantine/modals';
import { useState } from 'react';
import { Link, useNavigate, useParams } from 'react-router';
import { paths } from '@/app/paths';
import { type Connection, useConnection, useConnectionUsers, useDeleteConnection } from '@/api/connections';
import { useMay } from '@/api/me';
import { Page } from '@/ui/Page';
import { Section } from '@/ui/Section';
import { done, failed } from '@/ui/notify';
import { Asked, Failure, Loading } from '@/ui/states';
import { ConnectionForm } from './ConnectionForm';

/** One connection: its options, whether it works, and which pipelines name it. */
export default function ConnectionPage() {
  const { connection: id = '' } = useParams();
  const connection = useConnection(id);
  const may = useMay('editor');
  const remove = useDeleteConnection();
  const navigate = useNavigate();
  const { data } = connection;
  if (data === undefined) {
    return (
      <Page title="Connection">
        {connection.isError ? <Failure error={connection.error} onRetry={() => void connection.refetch()} /> : <Loading />}
      </Page>
    );
  }
  const ask = () =>
    modals.openConfirmModal({
      title: `Delete ${data.name}?`,
      children: <Text size="sm">Its secrets are gone for good. A connection that a pipeline names is not deleted.</Text>,
      labels: { confirm: 'Delete', cancel: 'Keep' },
      confirmProps: { color: 'red' },
      onConfirm: () =>
        remove.mutate(data.id, {
          onSuccess: () => {
            done(`${data.name} was deleted`);
            void navigate(paths.connections);
          },
          onError: (error) => failed(`${data.name} was not deleted`, error),
        }),
    });
  return (
    <Page
      title={data.name}
      aside={
        <Text size="sm" c="dimmed">
          {data.kind}
        </Text>
      }
      actions={
        may && (
          <Button variant="default" color="red" size="compact-md" loading={remove.isPending} onClick={ask}>
            Delete
          </Button>
        )
      }
    >
      <Stack gap="lg">
        <Editable key={`${data.id} ${data.version}`} connection={data} />
        <UsedBy name={data.name} />
      </Stack>
    </Page>
  );
}

function Editable({ connection }: { connection: Connection }) {
  const [before] = useState(connection);
  return <ConnectionForm before={before} />;
}

function UsedBy({ name }: { name: string }) {
  const jobs = useConnectionUsers(name);
  return (
    <Section title="Used by">
      <Asked query={jobs}>
        {({ items, next_cursor }) =>
          items.length === 0 ? (
            <Text size="sm" c="dimmed">
              No pipeline names it.
            </Text>
          ) : (
            <List size="sm">
              {items.map((job) => (
                <List.Item key={job.id}>
                  <Anchor component={Link} to={paths.pipeline(job.id)} inherit>
                    <bdi>{job.name}</bdi>
                  </Anchor>
                </List.Item>
              ))}
              {next_cursor !== null && <List.Item>and more</List.Item>}
            </List>
          )
        }
      </Asked>
    </Section>
  );
}
