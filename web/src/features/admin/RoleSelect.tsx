import { Select, type SelectProps, Text } from '@mantine/core';
import { type Role, useMe } from '@/api/me';
import { ROLES, rolesUpTo } from './roles';

interface Props extends Omit<SelectProps, 'value' | 'onChange' | 'data'> {
  value: Role | null;
  onChange: (role: Role | null) => void;
}

/** A role that the caller may give; one that is given already is there too. */
export function RoleSelect({ value, onChange, ...rest }: Props) {
  const { data: me } = useMe();
  const roles = me === undefined ? [] : rolesUpTo(me.role);
  const data =
    value === null || roles.some((role) => role.value === value) ? roles : [...roles, ...ROLES.filter((role) => role.value === value)];
  return (
    <Select
      size="xs"
      {...rest}
      data={data.map((role) => role.value)}
      value={value}
      onChange={(role) => onChange(role as Role | null)}
      renderOption={({ option }) => (
        <div>
          <Text size="xs">{option.value}</Text>
          <Text size="xs" c="dimmed">
            {ROLES.find((role) => role.value === option.value)?.about}
          </Text>
        </div>
      )}
    />
  );
}
