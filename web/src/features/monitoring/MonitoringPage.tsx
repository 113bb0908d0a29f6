import { useParams } from 'react-router';
import { paths } from '@/app/paths';
import { Page } from '@/ui/Page';
import { Parts } from '@/ui/Parts';
import { NoSuchPage } from '@/ui/RouteFailure';
import { Alerts } from './Alerts';
import { Metrics } from './Metrics';
import { Rules } from './Rules';
import { Silences } from './Silences';

const PARTS = [
  { id: 'alerts', label: 'Alerts', content: <Alerts /> },
  { id: 'metrics', label: 'Metrics', content: <Metrics /> },
  { id: 'rules', label: 'Rules', content: <Rules /> },
  { id: 'silences', label: 'Silences', content: <Silences /> },
];

/** What is measured, which rules watch it, what they found, and who is not told. */
export default function MonitoringPage() {
  const { part = 'alerts' } = useParams();
  if (!PARTS.some(({ id }) => id === part)) return <NoSuchPage />;
  return (
    <Page title="Monitoring">
      <Parts label="Parts of monitoring" parts={PARTS} current={part} to={(id) => paths.monitoringPart(id)} />
    </Page>
  );
}
