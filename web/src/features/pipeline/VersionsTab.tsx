import { Button, Grid, Group, NavLink, Stack, Text } from '@mantine/core';
import { modals } from '@mantine/modals';
import { useState } from 'react';
import { type Job, type JobVersion, jobActions, useJobAction, useJobVersions } from '@/api/jobs';
import { useMay } from '@/api/me';
import { Code } from '@/ui/Code';
import { Section } from '@/ui/Section';
import { When } from '@/ui/When';
import { done, failed } from '@/ui/notify';
import { Asked } from '@/ui/states';

/** The kept versions, what each changed, and the way back to one. */
export default function VersionsTab({ job }: { job: Job }) {
  const versions = useJobVersions(job.id);
  return (
    <Asked query={versions}>
      {({ pages }) => <Versions job={job} versions={pages.flatMap(({ items }) => items)} more={versions.hasNextPage} onMore={() => void versions.fetchNextPage()} />}
    </Asked>
  );
}

function Versions({ job, versions, more, onMore }: { job: Job; versions: JobVersion[]; more: boolean; onMore: () => void }) {
  const [picked, setPicked] = useState(job.version);
  const may = useMay('editor');
  const rollback = useJobAction(jobActions.rollback);
  const chosen = versions.find(({ version }) => version === picked) ?? versions[0];
  if (chosen === undefined) return null;
  const newest = chosen.version === job.version;
  const before = newest ? versions.find(({ version }) => version < chosen.version) : chosen;
  const back = () =>
    modals.openConfirmModal({
      title: `Go back to version ${chosen.version}?`,
      children: <Text size="sm">Its file becomes version {job.version + 1}. Runs that are going keep theirs.</Text>,
      labels: { confirm: 'Go back', cancel: 'Leave it' },
      onConfirm: () =>
        rollback.mutate([job.id, chosen.version, job.revision], {
          onSuccess: (now) => {
            setPicked(now.version);
            done(`Version ${now.version} is the file of version ${chosen.version}`);
          },
          onError: (error) => failed('It was not rolled back', error),
        }),
    });
  return (
    <Grid gap="lg">
      <Grid.Col span={{ base: 12, md: 4, lg: 3 }}>
        <Stack gap={0} role="group" aria-label="Versions">
          {versions.map(({ version, note, created_at, created_by }) => (
            <NavLink
              key={version}
              component="button"
              type="button"
              active={version === chosen.version}
              aria-pressed={version === chosen.version}
              label={`Version ${version}${version === job.version ? ' (current)' : ''}`}
              description={<>{note}, <When at={created_at} /> by {created_by.slice(0, 60)}</>}
              onClick={() => setPicked(version)}
            />
          ))}
          {more && (
            <Button variant="subtle" size="compact-sm" onClick={onMore}>
              Older
            </Button>
          )}
        </Stack>
      </Grid.Col>
      <Grid.Col span={{ base: 12, md: 8, lg: 9 }}>
        <Section
          title={newest ? (before ? `What version ${chosen.version} changed` : 'The first version') : `From version ${chosen.version} to the current one`}
          aside={
            !newest &&
            may && (
              <Group gap="xs">
                <Button size="compact-sm" variant="default" loading={rollback.isPending} onClick={back}>
                  Go back to version {chosen.version}
                </Button>
              </Group>
            )
          }
        >
          <Code key={chosen.version} text={newest ? chosen.spec : job.spec} {...(before === undefined ? {} : { before: before.spec })} label={`Version ${chosen.version}`} />
        </Section>
      </Grid.Col>
    </Grid>
  );
}
