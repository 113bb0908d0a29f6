import { Button, Menu, Text } from '@mantine/core';
import { IconApi, IconLogout, IconUser } from '@tabler/icons-react';
import { useMe } from '@/api/me';
import { session, useSession } from '@/api/session';
import { paths } from './paths';

/** Who is here, for which tenant, and the way out. */
export function Person() {
  const { data: me } = useMe();
  const { token } = useSession();
  if (me === undefined) return null;
  return (
    <Menu position="bottom-end" width={240}>
      <Menu.Target>
        <Button variant="subtle" color="gray" size="compact-sm" leftSection={<IconUser size={16} aria-hidden />} aria-label={`Signed in as ${me.name}`}>
          <Text span size="sm" maw={160} truncate visibleFrom="xs">
            {me.name}
          </Text>
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>
          {me.name}
          <br />
          {me.role} of {me.tenant_id}
        </Menu.Label>
        <Menu.Item component="a" href={paths.apiDocs} leftSection={<IconApi size={16} aria-hidden />}>
          API
        </Menu.Item>
        {token !== null && (
          <Menu.Item leftSection={<IconLogout size={16} aria-hidden />} onClick={() => session.end()}>
            Sign out
          </Menu.Item>
        )}
      </Menu.Dropdown>
    </Menu>
  );
}
