import { Button, Group, Modal, NumberInput, Select, SimpleGrid, Stack, Text, TextInput } from '@mantine/core';
import { type FormEvent, useState } from 'react';
import { type Quotas, type Tenant, useTenantActions } from '@/api/tenants';
import { done } from '@/ui/notify';
import { Failure } from '@/ui/states';
import { QUOTAS, UNLIMITED } from './quotas';

/** A new tenant, or a change of one: its name, whether it may do anything, its limits. */
export function TenantForm({ of, onClose }: { of: Tenant | 'new' | null; onClose: () => void }) {
  return (
    <Modal
      opened={of !== null}
      onClose={onClose}
      title={of === 'new' ? 'New tenant' : `Change ${of?.id ?? ''}`}
      size="lg"
      closeButtonProps={{ 'aria-label': 'Close' }}
    >
      {of !== null && <Fields key={of === 'new' ? '' : of.id} before={of === 'new' ? null : of} onClose={onClose} />}
    </Modal>
  );
}

function Fields({ before, onClose }: { before: Tenant | null; onClose: () => void }) {
  const [id, setId] = useState('');
  const [name, setName] = useState(before?.name ?? '');
  const [status, setStatus] = useState<'active' | 'suspended'>(before?.status === 'suspended' ? 'suspended' : 'active');
  const [quotas, setQuotas] = useState<Quotas>(before?.quotas ?? UNLIMITED);
  const { create, update, remove } = useTenantActions();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const finish = {
      onSuccess: (tenant: Tenant) => {
        done(`${tenant.id} was ${before === null ? 'made' : 'changed'}`);
        onClose();
      },
    };
    if (before === null) create.mutate({ id, name, quotas }, finish);
    else update.mutate({ of: before, body: { name, status, quotas } }, finish);
  };
  const error = create.error ?? update.error ?? remove.error;
  return (
    <form onSubmit={submit}>
      <Stack gap="sm">
        {error !== null && <Failure error={error} />}
        {before === null && (
          <TextInput
            label="Id"
            description="Lower-case letters, digits and -; it cannot be changed"
            required
            maxLength={63}
            pattern="[a-z0-9]([a-z0-9\-]*[a-z0-9])?"
            value={id}
            onChange={(event) => setId(event.currentTarget.value)}
          />
        )}
        <TextInput label="Name" required maxLength={200} value={name} onChange={(event) => setName(event.currentTarget.value)} />
        {before !== null && (
          <Select
            label="State"
            description="Suspended: nothing runs, nobody is let in; nothing is lost."
            allowDeselect={false}
            data={['active', 'suspended']}
            value={status}
            onChange={(next) => next !== null && setStatus(next as typeof status)}
          />
        )}
        <Text size="sm" fw={600}>
          Limits
        </Text>
        <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="xs">
          {QUOTAS.map((quota) => (
            <NumberInput
              key={quota.name}
              size="xs"
              label={quota.label}
              description={quota.about}
              placeholder="none"
              min={0}
              allowDecimal={false}
              thousandSeparator=","
              value={quotas[quota.name] ?? ''}
              onChange={(value) => setQuotas({ ...quotas, [quota.name]: typeof value === 'number' ? value : null })}
            />
          ))}
        </SimpleGrid>
        <Group justify="space-between">
          <Button type="submit" loading={create.isPending || update.isPending}>
            {before === null ? 'Make tenant' : 'Save'}
          </Button>
          {before?.status === 'suspended' && <Remove of={before} remove={remove} onDone={onClose} />}
        </Group>
      </Stack>
    </form>
  );
}

/** For good: so its id is typed once more. */
function Remove({ of, remove, onDone }: { of: Tenant; remove: ReturnType<typeof useTenantActions>['remove']; onDone: () => void }) {
  const [typed, setTyped] = useState('');
  return (
    <Group gap="xs" align="flex-end">
      <TextInput
        size="xs"
        label={`Type ${of.id} to remove it for good`}
        description="with its files, connections and secrets"
        value={typed}
        onChange={(event) => setTyped(event.currentTarget.value)}
      />
      <Button
        color="red"
        variant="default"
        disabled={typed !== of.id}
        loading={remove.isPending}
        onClick={() =>
          remove.mutate(of, {
            onSuccess: () => {
              done(`${of.id} is being removed`);
              onDone();
            },
          })
        }
      >
        Remove
      </Button>
    </Group>
  );
}
