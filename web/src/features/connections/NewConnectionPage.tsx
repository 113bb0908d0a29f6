import { Page } from '@/ui/Page';
import { ConnectionForm } from './ConnectionForm';

/** A connection to be stored. */
export default function NewConnectionPage() {
  return (
    <Page title="New connection">
      <ConnectionForm before={null} />
    </Page>
  );
}
