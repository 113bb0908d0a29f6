// Connections: stored from the connector's schema, tried out, named by pipelines; their secrets go in and never come out.
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accessible, fits, settled, startBrowser, visit } from './browser';
import { lookAt } from './looks';
import { type Program, startProgram } from './program';
import { type Pages, startPages } from './stage';
import { loadsAndFails } from './states';

let browser: Browser;
let program: Program;
let pages: Pages;

beforeAll(async () => {
  [browser, program, pages] = await Promise.all([startBrowser(), startProgram(), startPages()]);
});
afterAll(async () => {
  await browser?.close();
  await program?.stop();
  await pages?.stop();
});

const SECRET = 'canary-7f3a9c-secret';

it('empty: it is said what a connection is', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto('/connections');
  await page.getByText('No connection is stored yet').waitFor();
  await accessible(page, 'empty connections');
  await end();
});

it('is made from the schema, tried out before, and its secret never comes back', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  const bodies: string[] = [];
  page.on('response', (response) => {
    if (response.url().includes('/api/'))
      void response.text().then(
        (body) => bodies.push(body),
        () => undefined,
      );
  });
  await page.goto('/connections/new');
  await page.getByLabel(/^Name/).fill('warehouse');
  await page.getByRole('combobox', { name: /^Connector/ }).fill('postgres');
  await page.getByRole('option', { name: 'postgres', exact: true }).click();
  await page.getByLabel('host', { exact: true }).fill('127.0.0.1');
  // Nothing listens there.
  await page.getByLabel('port', { exact: true }).fill('1');
  await page.getByLabel('user', { exact: true }).fill('weir');
  await page.getByLabel('password', { exact: true }).fill(SECRET);
  await page.getByRole('button', { name: 'Test' }).click();
  await page.getByRole('status').filter({ hasText: 'does not work yet' }).waitFor();
  await page.getByRole('button', { name: 'Store' }).click();
  await page.getByRole('heading', { name: 'warehouse' }).waitFor();
  await page.getByText('Stored. It is never shown.').waitFor();
  await page.getByText('No pipeline names it.').waitFor();
  // A change of another option keeps it.
  await page.getByLabel('database', { exact: true }).fill('shop');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('warehouse was changed').waitFor();
  await page.reload();
  await page.getByText('Stored. It is never shown.').waitFor();
  expect(await page.getByLabel('database', { exact: true }).inputValue()).toBe('shop');
  expect(await page.content()).not.toContain(SECRET);
  expect(bodies.join('\n')).not.toContain(SECRET);
  await page.getByRole('button', { name: 'Replace password' }).click();
  expect(await page.getByLabel('password', { exact: true }).inputValue()).toBe('');
  await end();
});

it('works, is named by a pipeline, and is not deleted while it is', async () => {
  const { id } = await program.api<{ id: string }>('POST', '/api/v1/connections', {
    name: 'items_api',
    kind: 'http',
    options: { base_url: pages.url },
  });
  await program.job(
    `pipeline: reads_items\nsource:\n  http: {connection: items_api, path: "", stream_name: items, records: data}\nsink:\n  file: {path: out/items}\n`,
  );
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto('/connections');
  await page.getByRole('button', { name: 'Test items_api' }).click();
  await page.getByRole('status').filter({ hasText: /\d ms/ }).waitFor();
  await page.getByRole('link', { name: 'items_api' }).click();
  await page.getByRole('link', { name: 'reads_items' }).waitFor();
  await page.getByRole('button', { name: 'Test', exact: true }).click();
  await page.getByRole('status').filter({ hasText: 'works' }).waitFor();
  await accessible(page, 'a connection with its test');
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.getByText('items_api was not deleted').waitFor();
  await page.getByText('reads_items').nth(1).waitFor();
  expect((await program.api<{ id: string }>('GET', `/api/v1/connections/${id}`)).id).toBe(id);
  await end();
});

it('is tried out where a pipeline is written', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto('/pipelines/new?edit');
  await page.locator('.cm-content').click();
  await page.keyboard.insertText('pipeline: a\nsource:\n  http: {stream_name: items, records: data}\nsink:\n  file: {path: out/a}\n');
  const source = page.getByRole('region', { name: 'Sources' });
  await source.getByRole('button', { name: 'http', exact: true }).click();
  await source.getByRole('combobox', { name: 'connection' }).click();
  await page.getByRole('option', { name: 'items_api' }).click();
  await expect.poll(() => page.locator('.cm-content').textContent()).toContain('connection: items_api');
  await source.getByRole('button', { name: 'Test' }).click();
  await source.getByRole('status').filter({ hasText: 'works' }).waitFor();
  await end();
});

it('a problem with the options is told', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto('/connections/new');
  await page.getByLabel(/^Name/).fill('twice');
  await page.getByRole('combobox', { name: /^Connector/ }).fill('postgres');
  await page.getByRole('option', { name: 'postgres', exact: true }).click();
  await page.getByLabel('url', { exact: true }).fill('mysql://nowhere');
  await page.getByRole('button', { name: 'Store' }).click();
  await page.getByRole('alert').waitFor();
  await end();
});

it('hostile values are text, and long ones do not widen the page', async () => {
  const evil = '<img src=x onerror="window.hit=1">';
  const { id } = await program.api<{ id: string }>('POST', '/api/v1/connections', {
    name: 'W'.repeat(63),
    kind: 'http',
    options: { base_url: `https://h.example/${'y'.repeat(1_500)}`, headers: { 'X-Evil': evil } },
  });
  for (const width of [320, 1280]) {
    const { page, end } = await visit(browser, program.url, { token: program.token, width });
    for (const path of ['/connections', `/connections/${id}`]) {
      await page.goto(path);
      await page.getByText('WWWW').first().waitFor();
      await settled(page);
      await fits(page, `${path} at ${width}`);
      expect(await page.evaluate(() => (window as unknown as { hit?: number }).hit)).toBeUndefined();
    }
    await end();
  }
});

describe('looks', () => {
  it('list, form, one', async () => {
    const all = await program.api<{ items: { id: string; name: string }[] }>('GET', '/api/v1/connections');
    const warehouse = all.items.find((one) => one.name === 'warehouse')!;
    await lookAt(browser, program.url, program.token, { name: 'connections', path: '/connections', ready: 'items_api' });
    await lookAt(browser, program.url, program.token, {
      name: 'connection',
      path: `/connections/${warehouse.id}`,
      ready: 'Stored. It is never shown.',
    });
    await lookAt(browser, program.url, program.token, { name: 'new-connection', path: '/connections/new', ready: 'Connector' });
  });

  it('loading, failing, missing; a viewer may look and not touch', async () => {
    await loadsAndFails(browser, program.url, program.token, '/connections');
    const viewer = await visit(browser, program.url, { token: await program.tokenOf('viewer') });
    await viewer.page.goto('/connections');
    await viewer.page.getByText('items_api').waitFor();
    expect(await viewer.page.getByRole('link', { name: 'New connection' }).count()).toBe(0);
    expect(await viewer.page.getByRole('button', { name: /^Test/ }).count()).toBe(0);
    await viewer.page.goto('/connections/gone');
    await viewer.page.getByText('There is no such thing').waitFor();
    await viewer.end();
    const { id } = await program.api<{ id: string }>('POST', '/api/v1/principals', { kind: 'user', name: 'narrow', role: 'viewer' });
    const { token } = await program.api<{ token: string }>('POST', '/api/v1/tokens', {
      principal_id: id,
      name: 'narrow',
      scopes: ['GET /api/v1/me', 'GET /api/v1/runs'],
    });
    const narrow = await visit(browser, program.url, { token });
    await narrow.page.goto('/connections');
    await narrow.page.getByRole('heading', { name: 'Not for your role' }).waitFor();
    await narrow.end();
  });
});
