// What is measured, the rules that watch it with what they would have found, and silences.
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accessible, fitsWideAndNarrow, startBrowser, visit } from './browser';
import { lookAt } from './looks';
import { type Program, startProgram, until } from './program';
import { copySpec, furnish } from './stage';
import { isForbidden, loadsAndFails } from './states';

let browser: Browser;
let program: Program;
let stage: Awaited<ReturnType<typeof furnish>>;

beforeAll(async () => {
  [browser, program] = await Promise.all([startBrowser(), startProgram()]);
  stage = await furnish(program);
  await program.api('POST', `/api/v1/jobs/${stage.broken}/alerts`, {
    metric: 'run_failed',
    threshold: 0,
    window: '1h',
    severity: 'critical',
    action: 'none',
  });
  // The loop of the rules looks every ten seconds.
  await until(
    'an alert fires',
    async () => (await program.api<{ items: unknown[] }>('GET', '/api/v1/alerts?state=firing')).items.length > 0,
  );
}, 120_000);
afterAll(async () => {
  await browser?.close();
  await program?.stop();
});

it('alerts say which rule of which pipeline was broken', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto('/');
  await page.getByRole('link', { name: 'Monitoring' }).click();
  const row = page.getByRole('row').filter({ hasText: 'stock_levels' });
  await row.getByText('Run failed above 0').waitFor();
  await row.getByText('firing').waitFor();
  await page.getByText('Resolved', { exact: true }).click();
  await page.getByText('There was no alert').waitFor();
  await end();
});

it('a rule shows what it would have found, is added and removed', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto('/monitoring/rules');
  await page.getByRole('combobox', { name: 'Pipeline' }).fill('stock');
  await page.getByRole('option', { name: 'stock_levels' }).click();
  await page.getByRole('table', { name: 'Rules' }).getByText('Run failed is above 0').waitFor();
  // The run that failed has an error rate of 1.
  await page.getByRole('status').filter({ hasText: 'Once:' }).waitFor();
  await page.getByText('at most 100 %').waitFor();
  await page.getByLabel('Fires above').fill('2');
  await page.getByRole('status').filter({ hasText: 'Never.' }).waitFor();
  await page.getByRole('combobox', { name: 'Measure' }).click();
  await page.getByRole('option', { name: 'Schema drift' }).click();
  await page.getByText('nothing was measured').waitFor();
  await page.getByRole('button', { name: 'Add rule' }).click();
  await page.getByText('Schema drift is above 2').waitFor();
  await page.getByRole('button', { name: 'Remove: Schema drift is above 2' }).click();
  await page.getByText('Schema drift is above 2').waitFor({ state: 'detached' });
  const rules = await program.api<{ items: { metric: string }[] }>('GET', `/api/v1/jobs/${stage.broken}/alerts`);
  expect(rules.items.map((rule) => rule.metric)).toEqual(['run_failed']);
  // The choice is in the address.
  expect(new URL(page.url()).searchParams.get('job')).toBe(stage.broken);
  await end();
});

it('a silence is made and ended, by keyboard', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto('/monitoring/silences');
  await page.getByText('Nothing is silenced').waitFor();
  await accessible(page, 'empty silences');
  await page.getByLabel('Why').focus();
  await page.keyboard.type('maintenance of <b>the</b> warehouse');
  await page.keyboard.press('Enter');
  const row = page.getByRole('row').filter({ hasText: 'maintenance of <b>the</b> warehouse' });
  await row.getByText('all pipelines').waitFor();
  await row.getByRole('button').focus();
  await page.keyboard.press('Enter');
  await page.getByText('Nothing is silenced').waitFor();
  await end();
});

it('metrics are drawn for the pipeline that is chosen', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto(`/monitoring/metrics?job=${stage.shop}`);
  await page.getByRole('img', { name: /^rows_written/ }).waitFor();
  expect(await page.locator('canvas').count()).toBeGreaterThan(5);
  await page.getByRole('combobox', { name: 'Pipeline' }).fill('returns');
  await page.getByRole('option', { name: 'returns_to_lake' }).click();
  await page.waitForURL(/job=/);
  await page.getByRole('img', { name: /^rejected_rows/ }).waitFor();
  await end();
});

describe('looks', () => {
  it.each([
    ['alerts', '', 'stock_levels'],
    ['metrics', '/metrics?job=SHOP', 'rows written'],
    ['rules', '/rules?job=BROKEN', 'Once:'],
    ['silences', '/silences', 'the warehouse moves'],
  ])('%s', async (name, part, ready) => {
    if (name === 'silences') {
      const silence = { job_id: stage.shop, until: '2099-01-01T00:00:00Z', reason: 'the warehouse moves' };
      await program.api('POST', '/api/v1/silences', silence);
    }
    const path = `/monitoring${part}`.replace('SHOP', stage.shop).replace('BROKEN', stage.broken);
    await lookAt(browser, program.url, program.token, { name, path, ready });
  });

  it('hostile names', async () => {
    const evil = '<img src=x onerror="window.hit=1">';
    const job = await program.job(copySpec('evil'), { name: `${evil}${'W'.repeat(150)}` });
    await program.api('POST', '/api/v1/silences', {
      job_id: job,
      until: '2099-01-01T00:00:00Z',
      reason: `${'\u202E'}${evil}${'x'.repeat(400)}`,
    });
    const { page, end } = await visit(browser, program.url, { token: program.token });
    for (const path of ['/monitoring/silences', `/monitoring/rules?job=${job}`, `/monitoring/metrics?job=${job}`]) {
      await page.goto(path);
      await page.getByRole('heading', { level: 1 }).waitFor();
      await fitsWideAndNarrow(page, path);
      expect(await page.evaluate(() => (window as unknown as { hit?: number }).hit)).toBeUndefined();
    }
    await end();
  });

  it('loading, failing, forbidden', async () => {
    await loadsAndFails(browser, program.url, program.token, '/monitoring/silences');
    const { id } = await program.api<{ id: string }>('POST', '/api/v1/principals', { kind: 'user', name: 'narrow', role: 'viewer' });
    const { token } = await program.api<{ token: string }>('POST', '/api/v1/tokens', {
      principal_id: id,
      name: 'narrow',
      scopes: ['GET /api/v1/me'],
    });
    await isForbidden(browser, program.url, token, '/monitoring');
    const { page, end } = await visit(browser, program.url, { token: await program.tokenOf('viewer') });
    await page.goto(`/monitoring/rules?job=${stage.shop}`);
    await page.getByRole('table', { name: 'Rules' }).waitFor();
    expect(await page.getByRole('button', { name: /Add rule|Remove/ }).count()).toBe(0);
    await end();
  });
});
