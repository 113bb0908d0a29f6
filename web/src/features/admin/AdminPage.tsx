import { useParams } from 'react-router';
import { paths } from '@/app/paths';
import { useMay } from '@/api/me';
import { Page } from '@/ui/Page';
import { Parts } from '@/ui/Parts';
import { NoSuchPage } from '@/ui/RouteFailure';
import { Audit } from './Audit';
import { Config } from './Config';
import { QuotasPart } from './QuotasPart';
import { Tenants } from './Tenants';
import { Tokens } from './Tokens';
import { Users } from './Users';

/** Who may do what, how much, and what was done. The server decides who may see which part; it says so there. */
export default function AdminPage() {
  const { part = 'users' } = useParams();
  const platform = useMay('platform-admin');
  const parts = [
    { id: 'users', label: 'Users', content: <Users /> },
    { id: 'tokens', label: 'Tokens', content: <Tokens /> },
    { id: 'quotas', label: 'Quotas', content: <QuotasPart /> },
    { id: 'audit', label: 'Audit log', content: <Audit /> },
    ...(platform || part === 'tenants' ? [{ id: 'tenants', label: 'Tenants', content: <Tenants /> }] : []),
    ...(platform || part === 'config' ? [{ id: 'config', label: 'Configuration', content: <Config /> }] : []),
  ];
  if (!parts.some(({ id }) => id === part)) return <NoSuchPage />;
  return (
    <Page title="Admin">
      <Parts label="Parts of administration" parts={parts} current={part} to={paths.admin} />
    </Page>
  );
}
