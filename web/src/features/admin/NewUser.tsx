import { Button, Group, Select, TextInput } from '@mantine/core';
import { type FormEvent, useState } from 'react';
import { type Principal, useAccessActions } from '@/api/access';
import type { Role } from '@/api/me';
import { Section } from '@/ui/Section';
import { done } from '@/ui/notify';
import { Failure } from '@/ui/states';
import { RoleSelect } from './RoleSelect';

/** A person or a program that is to be let in. */
export function NewUser() {
  const [kind, setKind] = useState<Principal['kind']>('user');
  const [name, setName] = useState('');
  const [role, setRole] = useState<Role>('viewer');
  const [subject, setSubject] = useState('');
  const { createPrincipal } = useAccessActions();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    createPrincipal.mutate(
      { kind, name: name.trim(), role, ...(kind === 'user' && subject.trim() !== '' ? { oidc_subject: subject.trim() } : {}) },
      {
        onSuccess: (made) => {
          setName('');
          setSubject('');
          done(`${made.name} was made. A token lets it in.`);
        },
      },
    );
  };
  return (
    <Section title="New user or service account">
      <form onSubmit={submit}>
        <Group align="flex-end" gap="sm">
          <Select
            size="xs"
            label="Kind"
            w={150}
            allowDeselect={false}
            data={[
              { value: 'user', label: 'user' },
              { value: 'service_account', label: 'service account' },
            ]}
            value={kind}
            onChange={(next) => next !== null && setKind(next as Principal['kind'])}
          />
          <TextInput
            size="xs"
            label="Name"
            required
            maxLength={200}
            miw={180}
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
          />
          <RoleSelect label="Role" w={160} allowDeselect={false} value={role} onChange={(next) => next !== null && setRole(next)} />
          {kind === 'user' && (
            <TextInput
              size="xs"
              label="Subject at the identity provider"
              miw={220}
              value={subject}
              onChange={(event) => setSubject(event.currentTarget.value)}
            />
          )}
          <Button type="submit" size="xs" loading={createPrincipal.isPending} disabled={name.trim() === ''}>
            Add
          </Button>
        </Group>
        {createPrincipal.isError && <Failure error={createPrincipal.error} />}
      </form>
    </Section>
  );
}
