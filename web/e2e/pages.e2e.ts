// Every page, as it is with data, without, while it loads, when it fails and when it is forbidden.
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accessible, settled, startBrowser, visit } from './browser';
import { lookAt } from './looks';
import { type Program, startProgram, until } from './program';
import { furnish } from './stage';
import { loadsAndFails } from './states';

let browser: Browser;
let program: Program;
let stage: Awaited<ReturnType<typeof furnish>>;

beforeAll(async () => {
  [browser, program] = await Promise.all([startBrowser(), startProgram()]);
  stage = await furnish(program);
});
afterAll(async () => {
  await browser?.close();
  await program?.stop();
});

describe('with data', () => {
  it('the stage is what it says', () => {
    expect([stage.first.status, stage.second.status, stage.failed.status, stage.kept.status]).toEqual(['succeeded', 'succeeded', 'failed', 'succeeded']);
  });
  it.each([
    ['login', '/', 'Sign in', true],
    ['overview', '/', 'Cost by pipeline', false],
    ['pipelines', '/pipelines', 'orders_to_lake', false],
    ['runs', '/runs', 'stock_levels', false],
    ['no-such-page', '/nothing/here', 'There is no such page', false],
  ])('%s', async (name, path, ready, out) => {
    // What runs have cost is reckoned some seconds after they have ended.
    if (name === 'overview') await until('the cost is known', async () => (await program.api<{ costliest_jobs: unknown[] }>('GET', '/api/v1/monitoring/history')).costliest_jobs.length === 3);
    await lookAt(browser, program.url, out ? undefined : program.token, { name, path, ready });
  });
  it.each([
    ['pipeline', '', 'Next five runs'],
    ['pipeline-runs', '/runs', 'succeeded'],
    ['pipeline-streams', '/streams', /stream of/],
    ['pipeline-metrics', '/metrics', 'rows written'],
    ['pipeline-alerts', '/alerts', 'processing_lag'],
    ['pipeline-versions', '/versions', 'What version 3 changed'],
  ])('%s', async (name, tab, ready) => {
    const path = `/pipelines/${stage.shop}${tab}`;
    await lookAt(browser, program.url, program.token, name === 'pipeline' ? { name, path, ready: '15 6 * * 1-5' } : { name, path, ready });
  });
  it('runs are sorted by the server, and those of one pipeline found', async () => {
    const { page, end } = await visit(browser, program.url, { token: program.token });
    await page.goto('/runs');
    const written = page.getByRole('columnheader', { name: 'Rows written' });
    const first = (column: number) => page.locator('tr[aria-rowindex="2"] td').nth(column);
    await written.getByRole('button').click();
    await first(5).getByText('4,000').waitFor();
    expect(await written.getAttribute('aria-sort')).toBe('descending');
    await written.getByRole('button').click();
    await first(5).getByText('0', { exact: true }).waitFor();
    await page.getByRole('columnheader', { name: 'Pipeline' }).getByRole('button').click();
    await first(2).getByText('orders_to_lake').waitFor();
    // The order is in the address.
    await page.reload();
    await first(2).getByText('orders_to_lake').waitFor();
    expect(new URL(page.url()).searchParams.get('sort')).toBe('job_name');
    await page.getByRole('combobox', { name: 'Pipeline' }).fill('stock');
    await page.getByRole('option', { name: 'stock_levels' }).click();
    await page.getByRole('cell', { name: 'orders_to_lake' }).first().waitFor({ state: 'detached' });
    await first(2).getByText('stock_levels').waitFor();
    await page.getByRole('checkbox', { name: /Choose the run of stock_levels/ }).first().check();
    await page.getByRole('group', { name: 'Chosen runs' }).getByRole('button', { name: 'Run again' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Run again' }).click();
    await page.getByText('1 started').waitFor();
    await page.getByRole('button', { name: 'Newest first' }).click();
    await page.waitForURL((url) => !url.searchParams.has('sort'));
    await end();
  });
  it('how a pipeline did, and the columns that its systems tell', async () => {
    const { page, end } = await visit(browser, program.url, { token: program.token });
    await page.goto(`/pipelines/${stage.shop}`);
    await page.getByRole('img', { name: /^The newest 2 runs, 0 of them failed/ }).waitFor();
    await page.goto(`/pipelines/${stage.shop}/streams`);
    await page.getByRole('button', { name: 'Ask the systems' }).click();
    await page.getByRole('table', { name: 'Columns' }).getByRole('cell', { name: 'decimal128(10,2)' }).first().waitFor();
    await accessible(page, 'the columns of a stream');
    await end();
  });
  it('run, its log, a failed one, two compared', async () => {
    const look = (name: string, path: string, ready: string | RegExp) => lookAt(browser, program.url, program.token, { name, path, ready });
    await look('run', `/runs/${stage.kept.id}`, 'comes out');
    await look('run-log', `/runs/${stage.second.id}/log`, /rows committed/);
    await look('run-failed', `/runs/${stage.failed.id}`, /WEIR-/);
    await look('runs-compared', `/runs/compare?a=${stage.first.id}&b=${stage.second.id}`, 'Difference');
  });
});

describe('states', () => {
  it('empty: a new platform says what to do first', async () => {
    const fresh = await startProgram();
    try {
      const { page, end } = await visit(browser, fresh.url, { token: fresh.token });
      for (const [path, words] of [['/', 'Nothing has run yet'], ['/pipelines', 'No pipelines yet'], ['/runs', 'Nothing has run yet']] as const) {
        await page.goto(path);
        await page.getByText(words).first().waitFor();
        await settled(page);
        await accessible(page, `empty ${path}`);
      }
      await end();
    } finally {
      await fresh.stop();
    }
  });

  it.each(['/', '/pipelines', '/runs', '/pipelines/ID', '/runs/RUN'])('loading and failing: %s', async (path) => {
    await loadsAndFails(browser, program.url, program.token, path.replace('ID', stage.shop).replace('RUN', stage.second.id));
  });

  it('forbidden: a role that may not is told so, and is offered only what it may do', async () => {
    const viewer = await program.tokenOf('viewer');
    const { page, end } = await visit(browser, program.url, { token: viewer });
    await page.goto(`/pipelines/${stage.shop}`);
    await page.getByRole('heading', { name: 'orders_to_lake' }).waitFor();
    await settled(page);
    expect(await page.getByRole('button', { name: 'Run', exact: true }).count()).toBe(0);
    await end();

    const { id } = await program.api<{ id: string }>('POST', '/api/v1/principals', { kind: 'user', name: 'narrow', role: 'viewer' });
    const { token } = await program.api<{ token: string }>('POST', '/api/v1/tokens', { principal_id: id, name: 'narrow', scopes: ['GET /api/v1/me', 'GET /api/v1/runs'] });
    const narrow = await visit(browser, program.url, { token });
    await narrow.page.goto('/pipelines');
    await narrow.page.getByRole('heading', { name: 'Not for your role' }).waitFor();
    await accessible(narrow.page, 'forbidden');
    await narrow.page.goto('/runs');
    await narrow.page.getByText('stock_levels').first().waitFor();
    await narrow.end();
  });

  it('missing: what is not there is said to be not there', async () => {
    const { page, end } = await visit(browser, program.url, { token: program.token });
    for (const path of ['/pipelines/gone', '/runs/gone']) {
      await page.goto(path);
      await page.getByText('There is no such thing').waitFor();
    }
    await end();
  });

  it('a token that is revoked ends the visit at the login page', async () => {
    const { id } = await program.api<{ id: string }>('POST', '/api/v1/principals', { kind: 'user', name: 'leaver', role: 'viewer' });
    const made = await program.api<{ token: string; info: { id: string } }>('POST', '/api/v1/tokens', { principal_id: id, name: 'leaver' });
    const { page, end } = await visit(browser, program.url, { token: made.token });
    await page.goto('/');
    await page.getByText('Newest runs').waitFor();
    await program.api('DELETE', `/api/v1/tokens/${made.info.id}`);
    await page.getByText('The token was refused').waitFor({ timeout: 30_000 });
    await end();
  });
});
