import { useSyncExternalStore } from 'react';

/**
 * The token that requests carry, and the tenant that a platform-admin looks at. The token is sent as a header and never as a cookie, so no
 * other page can make this browser use it. It is kept for the tab, or for the browser if the person asks for that.
 */
export interface Session {
  token: string | null;
  tenant: string | null;
  /** Why the session before ended, to be said on the login page. */
  ended: string | null;
}

const TOKEN = 'weir.token';
const TENANT = 'weir.tenant';

const stored = (): Session => ({
  token: sessionStorage.getItem(TOKEN) ?? localStorage.getItem(TOKEN),
  tenant: sessionStorage.getItem(TENANT),
  ended: null,
});

let current = stored();
const listeners = new Set<() => void>();

function become(next: Session) {
  current = next;
  listeners.forEach((listener) => listener());
}

export const session = {
  get: () => current,
  begin(token: string, keep: boolean) {
    (keep ? localStorage : sessionStorage).setItem(TOKEN, token);
    become({ token, tenant: null, ended: null });
  },
  end(why: string | null = null) {
    for (const storage of [sessionStorage, localStorage]) storage.removeItem(TOKEN);
    sessionStorage.removeItem(TENANT);
    become({ token: null, tenant: null, ended: why });
  },
  /** Acts for another tenant from now on; null = the token's own. */
  visit(tenant: string | null) {
    if (tenant === null) sessionStorage.removeItem(TENANT);
    else sessionStorage.setItem(TENANT, tenant);
    become({ ...current, tenant });
  },
};

export function useSession(): Session {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, session.get);
}
