import { Button } from '@mantine/core';
import type { Job } from '@/api/jobs';
import { usePlan } from '@/api/pipelines';
import { Columns } from '@/features/edit/PlanPanel';
import { Problems } from '@/features/edit/Problems';
import { Section } from '@/ui/Section';
import { Told } from '@/ui/Told';
import { Failure, Loading } from '@/ui/states';

/** The columns of all streams as the systems tell them now, from the source to the sink. Asking is a process at the server, so only when wanted. */
export function PlannedColumns({ job }: { job: Job }) {
  const plan = usePlan();
  const ask = (
    <Button size="compact-sm" variant="default" loading={plan.isPending} onClick={() => plan.mutate(job.spec)}>
      {plan.data === undefined ? 'Ask the systems' : 'Ask again'}
    </Button>
  );
  return (
    <Section title="What the systems tell now" aside={ask}>
      {plan.isPending && <Loading what="Asking the systems" />}
      {plan.isError && <Failure error={plan.error} />}
      {plan.data !== undefined && !plan.isPending && (
        <>
          {plan.data.error !== null && <Told error={plan.data.error} title="There is no answer" />}
          {plan.data.diagnostics.length > 0 && <Problems problems={plan.data.diagnostics} none="" />}
          {plan.data.plan !== null && <Columns columns={plan.data.plan.columns} />}
        </>
      )}
    </Section>
  );
}
