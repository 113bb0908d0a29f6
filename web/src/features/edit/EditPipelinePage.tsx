import { useState } from 'react';
import { useParams } from 'react-router';
import { type Job, useJob } from '@/api/jobs';
import { Page } from '@/ui/Page';
import { Failure, Loading } from '@/ui/states';
import { Editor } from './Editor';

/** Changes a pipeline; saving makes a version. */
export default function EditPipelinePage() {
  const { job: id = '' } = useParams();
  const job = useJob(id);
  // A cached answer may be of before the last change.
  if (job.data !== undefined && job.isFetchedAfterMount) return <Edited key={id} now={job.data} />;
  return <Page title="Edit">{job.isError ? <Failure error={job.error} onRetry={() => void job.refetch()} /> : <Loading />}</Page>;
}

/** The job as it was when the page was opened: what others save meanwhile must not replace what is being written. */
function Edited({ now }: { now: Job }) {
  const [job] = useState(now);
  return <Editor job={job} initial={job.spec} />;
}
