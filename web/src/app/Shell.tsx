import { AppShell, Burger, Group, NavLink, ScrollArea, Text } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { Suspense } from 'react';
import { NavLink as RouterLink, Outlet, ScrollRestoration, useLocation } from 'react-router';
import { reaches, useMe } from '@/api/me';
import { Loading } from '@/ui/states';
import { navigation } from './navigation';
import { paths } from './paths';
import { Person } from './Person';
import { SchemeSwitch } from './SchemeSwitch';

/** Navigation at the left, the page beside it. On narrow screens the navigation is behind a button. */
export function Shell() {
  const [opened, { toggle, close }] = useDisclosure();
  const { pathname } = useLocation();
  return (
    <AppShell
      header={{ height: 48 }}
      navbar={{ width: 192, breakpoint: 'sm', collapsed: { mobile: !opened } }}
      padding={{ base: 'xs', sm: 'md' }}
    >
      <a className="skip" href="#page">
        To the page
      </a>
      <AppShell.Header>
        <Group h="100%" px="sm" gap="xs" wrap="nowrap">
          <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label="Navigation" aria-expanded={opened} />
          <img src="/favicon.svg" width={22} height={22} alt="" />
          <Text fw={600} component="span">
            Weir
          </Text>
          <Group ml="auto" gap="xs" wrap="nowrap">
            <SchemeSwitch />
            <Person />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs" aria-label="Areas">
        <ScrollArea>
          <Links pathname={pathname} onFollow={close} />
        </ScrollArea>
      </AppShell.Navbar>
      <AppShell.Main id="page" tabIndex={-1} style={{ outline: 'none' }}>
        <Suspense fallback={<Loading />}>
          <Outlet />
        </Suspense>
      </AppShell.Main>
      <ScrollRestoration />
    </AppShell>
  );
}

function Links({ pathname, onFollow }: { pathname: string; onFollow: () => void }) {
  const { data: me } = useMe();
  const shown = navigation.filter(({ role }) => role === undefined || (me !== undefined && reaches(me.role, role)));
  return shown.map(({ label, to, icon: Icon }) => {
    const active = to === paths.overview ? pathname === to : pathname === to || pathname.startsWith(`${to}/`);
    return (
      <NavLink
        key={to}
        component={RouterLink}
        to={to}
        label={label}
        active={active}
        aria-current={active ? 'page' : undefined}
        leftSection={<Icon size={18} stroke={1.6} aria-hidden />}
        onClick={onFollow}
      />
    );
  });
}
