import { Alert, Anchor, Button, Checkbox, Code, Paper, PasswordInput, Stack, Text, Title } from '@mantine/core';
import { type FormEvent, useState } from 'react';
import { paths } from '@/app/paths';
import { checkToken } from '@/api/me';
import { statusOf } from '@/api/refusal';
import { session } from '@/api/session';

/** Takes a token and asks the server whether it is one. */
export function LoginPage({ why }: { why: string | null }) {
  const [token, setToken] = useState('');
  const [keep, setKeep] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(why);

  const enter = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    try {
      await checkToken(token.trim());
      session.begin(token.trim(), keep);
    } catch (error) {
      setProblem(statusOf(error) === 401 ? 'The server does not know this token: it is wrong, expired or revoked.' : (error as Error).message);
      setBusy(false);
    }
  };

  return (
    <Stack component="main" align="center" justify="center" mih="100vh" p="md">
      <Paper component="form" onSubmit={enter} withBorder p="lg" w="100%" maw={400}>
        <Stack gap="md">
          <Title order={1}>Weir</Title>
          {problem !== null && (
            <Alert color="red" role="alert" p="xs">
              {problem}
            </Alert>
          )}
          <PasswordInput
            label="Token"
            placeholder="weir_…"
            autoComplete="current-password"
            autoFocus
            required
            value={token}
            onChange={(event) => setToken(event.currentTarget.value)}
          />
          <Checkbox label="Stay signed in on this browser" checked={keep} onChange={(event) => setKeep(event.currentTarget.checked)} />
          <Button type="submit" loading={busy} disabled={token.trim() === ''}>
            Sign in
          </Button>
          <Text size="xs" c="dimmed">
            The first start of <Code>weir serve</Code> prints the token of the first administrator. Administrators make further ones. Programs use the same
            tokens with the <Anchor href={paths.apiDocs} size="xs" underline="always">API</Anchor>.
          </Text>
        </Stack>
      </Paper>
    </Stack>
  );
}
