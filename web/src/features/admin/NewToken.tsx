import { Button, Group, Select, TagsInput, TextInput } from '@mantine/core';
import { type FormEvent, useState } from 'react';
import { type Principal, useAccessActions } from '@/api/access';
import type { Role } from '@/api/me';
import { Section } from '@/ui/Section';
import { Failure } from '@/ui/states';
import { RoleSelect } from './RoleSelect';
import { ShownOnce } from './ShownOnce';

const ENDS = [
  { value: '30', label: '30 days' },
  { value: '90', label: '90 days' },
  { value: '365', label: '1 year' },
  { value: '', label: 'never' },
];

/** A token. Its secret is shown once, here. */
export function NewToken({ people }: { people: Principal[] }) {
  const [owner, setOwner] = useState<string | null>(null);
  const [name, setName] = useState('');
  const [role, setRole] = useState<Role | null>(null);
  const [days, setDays] = useState('90');
  const [scopes, setScopes] = useState<string[]>([]);
  const [secret, setSecret] = useState<string | null>(null);
  const { createToken } = useAccessActions();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (owner === null) return;
    const expires_at = days === '' ? undefined : new Date(Date.now() + Number(days) * 86_400_000).toISOString();
    createToken.mutate(
      {
        principal_id: owner,
        name: name.trim(),
        scopes,
        ...(role === null ? {} : { role }),
        ...(expires_at === undefined ? {} : { expires_at }),
      },
      {
        onSuccess: ({ token }) => {
          setSecret(token ?? null);
          setName('');
        },
      },
    );
  };
  // The answer holds the secret: it is forgotten together with the window that shows it.
  const forget = () => {
    setSecret(null);
    createToken.reset();
  };
  return (
    <Section title="New token">
      <ShownOnce secret={secret} onClose={forget} />
      <form onSubmit={submit}>
        <Group align="flex-end" gap="sm">
          <Select
            size="xs"
            label="Of"
            required
            searchable
            miw={180}
            placeholder="user or service account"
            data={people.filter((one) => !one.disabled).map((one) => ({ value: one.id, label: one.name.slice(0, 120) }))}
            value={owner}
            onChange={setOwner}
          />
          <TextInput
            size="xs"
            label="Name"
            description="What it is for"
            required
            maxLength={200}
            miw={180}
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
          />
          <RoleSelect label="At most" w={160} placeholder="as its owner" clearable value={role} onChange={setRole} />
          <Select
            size="xs"
            label="Ends after"
            w={110}
            allowDeselect={false}
            data={ENDS}
            value={days}
            onChange={(next) => setDays(next ?? '')}
          />
          <TagsInput
            size="xs"
            label="Only for"
            description="METHOD /path, * for any method"
            miw={220}
            maw={360}
            splitChars={[]}
            placeholder={scopes.length === 0 ? 'everything' : undefined}
            value={scopes}
            onChange={setScopes}
          />
          <Button type="submit" size="xs" loading={createToken.isPending} disabled={owner === null || name.trim() === ''}>
            Make token
          </Button>
        </Group>
        {createToken.isError && <Failure error={createToken.error} />}
      </form>
    </Section>
  );
}
