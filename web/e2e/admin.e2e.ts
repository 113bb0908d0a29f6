// Administration: who may do what, tokens that are shown once, limits with their use, the audit log and its chain, tenants, settings.
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accessible, fitsWideAndNarrow, startBrowser, visit } from './browser';
import { lookAt } from './looks';
import { type Program, startProgram } from './program';
import { furnish } from './stage';
import { isForbidden, loadsAndFails } from './states';

let browser: Browser;
let program: Program;

beforeAll(async () => {
  [browser, program] = await Promise.all([startBrowser(), startProgram()]);
  await furnish(program);
}, 120_000);
afterAll(async () => {
  await browser?.close();
  await program?.stop();
});

it('a user is let in with a token that is shown once, and is shut out again', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto('/');
  await page.getByRole('link', { name: 'Admin' }).click();
  await page.getByLabel(/^Name/).fill('ada@example.org');
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  await page.getByText('ada@example.org was made').waitFor();
  await page.getByRole('combobox', { name: 'Role of ada@example.org' }).click();
  await page.getByRole('option', { name: /^operator/ }).click();
  await page.getByText('ada@example.org is operator now').waitFor();
  await page.getByRole('tab', { name: 'Tokens' }).click();
  await page.getByRole('combobox', { name: /^Of/ }).fill('ada');
  await page.getByRole('option', { name: 'ada@example.org' }).click();
  await page.getByLabel(/^Name/).fill('laptop');
  await page.getByRole('button', { name: 'Make token' }).click();
  const secret = (await page.getByTestId('secret').textContent()) ?? '';
  expect(secret).toMatch(/^weir_\w{20,}$/);
  await accessible(page, 'the new token');
  await page.getByRole('button', { name: 'I have it' }).click();
  await page.getByTestId('secret').waitFor({ state: 'detached' });
  expect(await page.content()).not.toContain(secret);

  const theirs = await visit(browser, program.url, { token: secret });
  await theirs.page.goto('/');
  await theirs.page.getByRole('heading', { name: 'Overview' }).waitFor();
  expect(await theirs.page.getByRole('link', { name: 'Admin' }).count()).toBe(0);
  await theirs.end();

  const revoke = page.getByRole('row').filter({ hasText: 'laptop' });
  await revoke.getByRole('button', { name: 'Revoke laptop' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Revoke', exact: true }).click();
  await revoke.getByText('revoked').waitFor();
  const shut = await visit(browser, program.url, { token: secret });
  await shut.page.goto('/');
  await shut.page.getByRole('button', { name: 'Sign in' }).waitFor();
  await shut.end();

  await page.getByRole('tab', { name: 'Users' }).click();
  await page.getByRole('button', { name: 'What can be done with ada@example.org' }).click();
  await page.getByRole('menuitem', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.getByText('ada@example.org was deleted').waitFor();
  await end();
});

it('the audit log is read and its chain checked', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto('/admin/audit');
  await page.getByLabel('Only this action').fill('job.create');
  await page.getByRole('cell', { name: 'job.create' }).first().waitFor();
  await page.getByRole('cell', { name: 'principal.create' }).waitFor({ state: 'detached' });
  await page
    .getByRole('button', { name: /^Row \d+ in full/ })
    .first()
    .click();
  await page.getByText(/^request /).waitFor();
  await page.getByRole('button', { name: 'Check the chain' }).click();
  await page
    .getByRole('status')
    .filter({ hasText: /rows, all as they were written/ })
    .waitFor();
  await end();
});

it('a tenant is made with limits, visited, suspended', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto('/admin/tenants');
  await page.getByRole('button', { name: 'New tenant' }).click();
  const form = page.getByRole('dialog');
  await form.getByLabel(/^Id/).fill('team-b');
  await form.getByLabel(/^Name/).fill('Team B');
  await form.getByLabel('Pipelines').fill('3');
  await accessible(page, 'a new tenant');
  await form.getByRole('button', { name: 'Make tenant' }).click();
  await page.getByRole('row').filter({ hasText: 'team-b' }).getByText('Pipelines 3').waitFor();
  await page.getByRole('button', { name: 'Look at everything of team-b' }).click();
  await page.getByRole('button', { name: /Signed in as/ }).waitFor();
  await page.goto('/admin/quotas');
  await page.getByText('Limits of the tenant team-b').waitFor();
  await page.getByRole('row').filter({ hasText: 'Pipelines' }).getByText('0').first().waitFor();
  await page.goto('/admin/tenants');
  await page.evaluate(() => sessionStorage.removeItem('weir.tenant'));
  await page.reload();
  await page.getByRole('button', { name: 'Change team-b' }).click();
  await form.getByRole('combobox', { name: 'State' }).click();
  await page.getByRole('option', { name: 'suspended' }).click();
  await form.getByRole('button', { name: 'Save' }).click();
  await page.getByRole('row').filter({ hasText: 'team-b' }).getByText('suspended').waitFor();
  await end();
});

it('settings are shown with where they came from', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto('/admin/config');
  await page.getByLabel('Search settings').fill('data_dir');
  await page.getByText('flag --data').waitFor();
  await end();
});

describe('looks', () => {
  it.each([
    ['admin-users', '/admin', 'Add'],
    ['admin-tokens', '/admin/tokens', 'Make token'],
    ['admin-quotas', '/admin/quotas', 'Limits of the tenant'],
    ['admin-audit', '/admin/audit', 'token.create'],
    ['admin-tenants', '/admin/tenants', 'New tenant'],
    ['admin-config', '/admin/config', 'data_dir'],
  ])('%s', async (name, path, ready) => {
    if (name === 'admin-users') for (const role of ['viewer', 'editor']) await program.tokenOf(role);
    await lookAt(browser, program.url, program.token, { name, path, ready });
  });

  it('hostile names', async () => {
    const evil = '<img src=x onerror="window.hit=1">';
    await program.api('POST', '/api/v1/principals', {
      kind: 'user',
      name: `${evil}${Date.now()}${'W'.repeat(150)}`,
      role: 'viewer',
    });
    await program.api('POST', '/api/v1/tenants', { id: `evil-${Date.now()}`, name: `${evil}🧑‍🚀${'W'.repeat(120)}` });
    const { page, end } = await visit(browser, program.url, { token: program.token });
    for (const path of ['/admin', '/admin/audit', '/admin/tenants', '/admin/tokens']) {
      await page.goto(path);
      await page.getByRole('heading', { level: 1 }).waitFor();
      await fitsWideAndNarrow(page, path);
      expect(await page.evaluate(() => (window as unknown as { hit?: number }).hit)).toBeUndefined();
      expect(await page.locator('img[src="x"]').count()).toBe(0);
    }
    await end();
  });

  it.each(['/admin', '/admin/quotas', '/admin/audit', '/admin/config'])('loading and failing: %s', async (path) => {
    await loadsAndFails(browser, program.url, program.token, path);
  });

  it('forbidden', async () => {
    const body = { kind: 'user', name: `operator ${Date.now()}`, role: 'operator' };
    const { id } = await program.api<{ id: string }>('POST', '/api/v1/principals', body);
    const { token } = await program.api<{ token: string }>('POST', '/api/v1/tokens', { principal_id: id, name: 'x' });
    for (const path of ['/admin', '/admin/tokens', '/admin/audit', '/admin/tenants', '/admin/config']) {
      await isForbidden(browser, program.url, token, path);
    }
  });
});
