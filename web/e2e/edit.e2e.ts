// Making and changing pipelines: from a template to a run, form and text in step, what the checker, the planner and the rows say.
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accessible, fits, picture, settled, startBrowser, visit } from './browser';
import { lookAt } from './looks';
import { type Program, startProgram } from './program';
import { orders, ordersSpec } from './stage';
import { isForbidden, loadsAndFails } from './states';

let browser: Browser;
let program: Program;

beforeAll(async () => {
  [browser, program] = await Promise.all([startBrowser(), startProgram()]);
  await program.write('in/orders.csv', orders(300));
});
afterAll(async () => {
  await browser?.close();
  await program?.stop();
});

const text = (page: Page) => page.locator('.cm-content');

/** What stands in the editor. */
const written = (page: Page) =>
  text(page).evaluate((content) => [...content.querySelectorAll('.cm-line')].map((line) => line.textContent ?? '').join('\n'));

/** Writes a text in place of the one that is there, as a person with a keyboard does. */
async function write(page: Page, what: string) {
  await text(page).click();
  await page.keyboard.press('Control+a');
  await page.keyboard.insertText(what);
}

const says = (page: Page, words: string | RegExp) => page.getByRole('status').filter({ hasText: words }).first().waitFor();

const SPEC = `# what it is for
pipeline: shop
source:
  file: {path: in/orders.csv, columns: {amount: "decimal(10,2)"}} # from the shop
transforms:
  - filter: status <> 'draft'
  - sql: SELECT id, email, amount * 2 AS twice FROM input
sink:
  file: {path: lake/shop, format: parquet, write_mode: overwrite}
`;

it('from a template to a run', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto('/pipelines');
  await page.getByRole('link', { name: 'New pipeline' }).first().click();
  await page.getByRole('heading', { name: 'New pipeline' }).waitFor();
  await page.getByLabel('Search templates').fill('csv parquet');
  await page.getByRole('link', { name: /^Use CSV files to a Parquet/ }).click();
  await page.getByLabel('path').fill('in/*.csv');
  await page.getByLabel('name', { exact: true }).fill('from_template');
  await page.getByRole('button', { name: 'Go on' }).click();
  await says(page, 'no errors');
  expect(await written(page)).toMatch(/pipeline: "?from_template"?\n/);
  await page.getByRole('tab', { name: 'Plan' }).click();
  await page.getByRole('button', { name: 'Make a plan' }).click();
  await page.getByText('exactly once', { exact: true }).waitFor();
  await page.getByRole('region', { name: 'Columns' }).getByText('exact').first().waitFor();
  await page.getByRole('tab', { name: 'Preview' }).click();
  await page.getByRole('button', { name: 'Show the first rows' }).click();
  await page.getByRole('cell', { name: '1000', exact: true }).first().waitFor();
  await page.getByText('masked: email').waitFor();
  expect(await page.getByText('c0@example.org').count(), 'what looks personal is masked').toBe(0);
  await page.getByRole('button', { name: 'Create' }).click();
  await page.getByRole('heading', { name: 'from_template' }).waitFor();
  const jobs = await program.api<{ items: { id: string; name: string }[] }>('GET', '/api/v1/jobs?name=from_template');
  expect((await program.run(jobs.items[0]!.id)).status).toBe('succeeded');
  await end();
});

it('form and text are two sides of one thing, and comments stay', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto('/pipelines/new?edit');
  await write(page, SPEC);
  await says(page, 'no errors');
  const sink = page.getByRole('region', { name: 'Sinks' });
  await sink.getByRole('button', { name: 'file', exact: true }).click();
  await sink.getByLabel('path', { exact: true }).fill('lake/other');
  expect(await written(page)).toBe(SPEC.replace('lake/shop', 'lake/other'));
  const filter = page.getByRole('region', { name: 'Transforms' });
  await filter.getByRole('button', { name: 'filter', exact: true }).click();
  await filter.getByLabel('where').fill("status = 'paid'");
  expect(await written(page)).toContain("- filter: status = 'paid'");
  await filter.getByRole('button', { name: 'Move sql up' }).click();
  const moved = await written(page);
  expect(moved.indexOf('- sql')).toBeLessThan(moved.indexOf('- filter'));
  for (const comment of ['# what it is for', '# from the shop']) expect(moved).toContain(comment);
  // The other way round.
  await write(page, SPEC.replace('lake/shop', 'lake/third'));
  await expect.poll(() => sink.getByLabel('path', { exact: true }).inputValue()).toBe('lake/third');
  // A transform is added by the form, and undone by the editor.
  await filter.getByRole('button', { name: 'Add a transform' }).click();
  await page.getByRole('combobox', { name: 'Kind of the new transform' }).fill('dedupe');
  await page.getByRole('option', { name: 'dedupe' }).click();
  await expect.poll(() => written(page)).toContain('- dedupe: {}');
  await text(page).click();
  await page.keyboard.press('Control+z');
  await expect.poll(() => written(page)).not.toContain('dedupe');
  // Broken text: the form waits for it.
  await write(page, 'pipeline: [');
  await page.getByText('The text is no YAML at the moment').waitFor();
  await end();
});

it('the checker speaks at the place, and words are completed', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto('/pipelines/new?edit');
  await write(page, SPEC.replace('write_mode', 'writemode'));
  await says(page, '1 error');
  expect(await page.locator('.cm-lintRange-error').textContent()).toBe('writemode');
  await page.getByText(/line 9, column \d+/).waitFor();
  await page
    .getByText(/did you mean `write_mode`/)
    .first()
    .waitFor();
  expect(await page.getByRole('button', { name: 'Create' }).isDisabled()).toBe(true);
  await write(page, 'pipeline: a\nmo');
  await page.keyboard.press('Control+Space');
  // By mouse: the editor does not take a key for an answer that comes too soon after the words.
  await page.getByRole('option', { name: 'mode' }).click();
  await page.keyboard.type('inc');
  await page.getByRole('option', { name: 'incremental' }).click();
  expect(await written(page)).toBe('pipeline: a\nmode: incremental');
  await accessible(page, 'editor with problems');
  await end();
});

it('saving makes a version, and keeps what stands beside the file', async () => {
  const id = await program.job(ordersSpec('kept'), {
    name: 'Kept for people',
    retry: { max_attempts: 4, backoff_secs: 7, max_backoff_secs: 70 },
    timeout_secs: 99,
    labels: { own: 'yes' },
  });
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto(`/pipelines/${id}/edit`);
  await page.getByRole('heading', { name: 'Edit Kept for people' }).waitFor();
  await says(page, 'no errors');
  await write(page, ordersSpec('kept', "status = 'paid'"));
  await says(page, 'no errors');
  // Leaving is asked about first.
  await page.getByRole('link', { name: 'Runs', exact: true }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Stay', exact: true }).last().click();
  await page.getByLabel('Attempts').fill('5');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Version 2 was saved').waitFor();
  const job = await program.api<Record<string, unknown>>('GET', `/api/v1/jobs/${id}`);
  expect(job).toMatchObject({
    version: 2,
    name: 'Kept for people',
    timeout_secs: 99,
    retry: { max_attempts: 5, backoff_secs: 7 },
    labels: { own: 'yes', team: 'data' },
    schedule: { cron: '15 6 * * 1-5', timezone: 'Europe/Berlin' },
  });
  // Somebody else was faster.
  await page.goto(`/pipelines/${id}/edit`);
  await says(page, 'no errors');
  await program.api('PUT', `/api/v1/jobs/${id}`, { spec: ordersSpec('kept', "status = 'shipped'") });
  await write(page, ordersSpec('kept', "status = 'cancelled'"));
  await says(page, 'no errors');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Somebody else has changed this pipeline').waitFor();
  await end();
});

it('a step that fails is told with its reason, and so is a source that is not there', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto('/pipelines/new?edit');
  await write(page, SPEC.replace('amount * 2', 'nosuch * 2'));
  await says(page, 'no errors');
  await page.getByRole('tab', { name: 'Preview' }).click();
  await page.getByRole('button', { name: 'Show the first rows' }).click();
  await page.getByRole('alert').filter({ hasText: 'nosuch' }).waitFor();
  await page.getByRole('tabpanel').getByText('source', { exact: false }).first().click();
  await page.getByRole('cell', { name: '1000', exact: true }).waitFor();
  await write(page, SPEC.replace('in/orders.csv', 'in/nowhere.csv'));
  await says(page, 'no errors');
  await page.getByRole('tab', { name: 'Plan' }).click();
  await page.getByRole('button', { name: 'Make a plan' }).click();
  await page
    .getByRole('tabpanel')
    .getByText(/nowhere/)
    .first()
    .waitFor();
  await end();
});

it('hostile text is text', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token, width: 320 });
  await page.goto('/pipelines/new?edit');
  await page.getByText('Text', { exact: true }).click();
  const evil = '<img src=x onerror="window.hit=1">';
  await write(
    page,
    `pipeline: shop\nsource: {file: {path: '${evil}'}}\ntransforms: [{nosuch: '${evil}'}]\nsink: {file: {path: "${'x'.repeat(10_000)}"}}\n"${'\u202E'}${evil.replaceAll('"', "'")}": 1\n`,
  );
  await says(page, /\d errors?/);
  await page.getByText('Form', { exact: true }).click();
  await settled(page);
  await fits(page, 'hostile text');
  expect(await page.evaluate(() => (window as unknown as { hit?: number }).hit)).toBeUndefined();
  expect(await page.locator('img[src="x"]').count()).toBe(0);
  await end();
});

describe('looks', () => {
  it('gallery and parameters', async () => {
    await lookAt(browser, program.url, program.token, { name: 'new-pipeline', path: '/pipelines/new', ready: 'Begin without a template' });
    await lookAt(browser, program.url, program.token, { name: 'template', path: '/pipelines/new?template=csv_to_parquet', ready: 'Go on' });
  });

  it.each([
    ['light', false, 1280],
    ['dark', true, 1280],
    ['light', false, 320],
    ['light', false, 3840],
  ] as const)('editor %s %s %i', async (scheme, dark, width) => {
    const id =
      (await program.api<{ items: { id: string }[] }>('GET', '/api/v1/jobs?name=looked_at')).items[0]?.id ??
      (await program.job(SPEC.replace('pipeline: shop', 'pipeline: looked_at')));
    const { page, end } = await visit(browser, program.url, { token: program.token, dark, width, height: 1000 });
    await page.goto(`/pipelines/${id}/edit`);
    await says(page, 'no errors');
    await page.getByRole('tab', { name: 'Plan' }).click();
    await page.getByRole('button', { name: 'Make a plan' }).click();
    await page.getByRole('region', { name: 'Columns' }).waitFor();
    const cost = page.getByRole('region', { name: 'Cost and engine' });
    await cost.getByRole('region', { name: 'Engine' }).getByText('native').waitFor();
    await cost.getByRole('region', { name: 'Time, about' }).getByText('below 1 s').waitFor();
    await cost.getByText(/memory/i).first().waitFor();
    await settled(page);
    await fits(page, `editor ${scheme} ${width}`);
    await accessible(page, `editor ${scheme} ${width}`);
    if (width === 1280) {
      await picture(page, `edit-${scheme}`);
      await page.getByRole('region', { name: 'Columns' }).scrollIntoViewIfNeeded();
      await picture(page, `edit-plan-${scheme}`);
      await page.getByRole('tab', { name: 'Preview' }).click();
      await page.getByRole('button', { name: 'Show the first rows' }).click();
      await page.getByRole('cell', { name: '1000', exact: true }).first().waitFor();
      await accessible(page, `preview ${scheme}`);
      await page.getByText('rows shown').first().scrollIntoViewIfNeeded();
      await picture(page, `edit-preview-${scheme}`);
    }
    await end();
  });

  it('loading, failing, forbidden, missing', async () => {
    await loadsAndFails(browser, program.url, program.token, '/pipelines/new');
    await isForbidden(browser, program.url, await program.tokenOf('viewer'), '/pipelines/new');
    const { page, end } = await visit(browser, program.url, { token: program.token });
    await page.goto('/pipelines/gone/edit');
    await page.getByText('There is no such thing').waitFor();
    await end();
  });
});
