import type { ReactNode } from 'react';
import { useMe } from '@/api/me';
import { statusOf } from '@/api/refusal';
import { useSession } from '@/api/session';
import { Failure, Loading } from '@/ui/states';
import { LoginPage } from './LoginPage';

/** Lets in whom the server knows; everybody else sees the login page. With `--dev` the server knows everybody. */
export function Login({ children }: { children: ReactNode }) {
  const { ended } = useSession();
  const me = useMe();
  if (me.isPending) return <Loading />;
  if (statusOf(me.error) === 401) return <LoginPage why={ended} />;
  if (me.isError && me.data === undefined) return <Failure error={me.error} onRetry={() => void me.refetch()} />;
  return children;
}
