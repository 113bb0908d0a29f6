import type { Role } from '@/api/me';

/** The roles, each with what it adds to the one before. */
export const ROLES: { value: Role; about: string }[] = [
  { value: 'viewer', about: 'sees everything of the tenant' },
  { value: 'operator', about: 'also runs, cancels, pauses, silences and tests' },
  { value: 'editor', about: 'also makes and changes pipelines, connections, secrets and rules' },
  { value: 'admin', about: 'also manages users, tokens and subscriptions, and reads the audit log' },
  { value: 'platform-admin', about: 'also manages tenants and acts for each of them' },
];

/** Those that somebody may give: none above the own one. */
export const rolesUpTo = (own: Role) => ROLES.slice(0, ROLES.findIndex((role) => role.value === own) + 1);
