import { Page } from '@/ui/Page';
import { RunList } from './RunList';

/** All runs, newest first. */
export default function RunsPage() {
  return (
    <Page title="Runs">
      <RunList filter={{}} />
    </Page>
  );
}
