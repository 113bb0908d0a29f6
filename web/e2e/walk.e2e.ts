// What a person does the first day: signs in, starts a pipeline, watches it, stops one, tries again, compares, rolls back. By mouse and by keyboard.
import { readFile } from 'node:fs/promises';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { settled, startBrowser, visit } from './browser';
import { type Program, startProgram, until } from './program';
import { type Pages, copySpec, orders, ordersSpec, pagesSpec, startPages } from './stage';

let browser: Browser;
let program: Program;
let pages: Pages;

beforeAll(async () => {
  [browser, program, pages] = await Promise.all([startBrowser(), startProgram(), startPages()]);
  await program.write('in/orders.csv', orders(500));
});
afterAll(async () => {
  await browser?.close();
  await program?.stop();
  await pages?.stop();
});

it('from the login to a finished run', async () => {
  await program.job(ordersSpec('first_orders'));
  const { page, end } = await visit(browser, program.url);
  await page.goto('/');
  await page.getByLabel(/^Token/).fill('weir_wrong');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('does not know this token').waitFor();
  await page.getByLabel(/^Token/).fill(program.token);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('link', { name: 'To the pipelines' }).click();
  await page.getByRole('link', { name: 'first_orders' }).click();
  await page.getByRole('button', { name: 'Run', exact: true }).click();
  await page.getByRole('heading', { name: 'Run of first_orders' }).waitFor();
  await page.getByRole('status').filter({ hasText: 'succeeded' }).waitFor();
  const row = page.getByRole('table', { name: 'Balance' }).getByRole('row').nth(1);
  await row.getByText('comes out').waitFor();
  // 500 rows, every fifth … a draft: none of them is lost.
  expect((await row.getByRole('cell').allTextContents()).slice(1, 5)).toEqual(['500', '400', '100', '0']);
  // The same on the edges: what was read, what the filter left, what was written.
  const graph = page.getByRole('figure', { name: 'Graph of the run of first_orders' });
  await graph.waitFor();
  const edges = (await graph.getAttribute('aria-label'))?.match(/: [\d,]+(?=[,;]|$)/g);
  expect(edges).toEqual([': 500', ': 400', ': 400']);
  await page.getByRole('tab', { name: /Log/ }).click();
  await page.getByText('400 rows committed').waitFor();
  await page.getByLabel('Search the log').fill('begins');
  await page.getByText(/^1 of/).waitFor();
  const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download' }).click()]);
  expect(await readFile(await file.path(), 'utf8')).toMatch(/^\S+\tinfo\tfirst_orders begins[^\n]*\n$/);
  await page.reload();
  await page.getByRole('heading', { name: 'Run of first_orders' }).waitFor();
  await page.getByRole('button', { name: /Signed in as/ }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.getByRole('button', { name: 'Sign in' }).waitFor();
  expect(await page.evaluate(() => [document.cookie, ...[sessionStorage, localStorage].map((storage) => Object.keys(storage).filter((key) => key.startsWith('weir')).length)])).toEqual(['', 0, 0]);
  await end();
});

it('a run is live, is stopped and tried again', async () => {
  const job = await program.job(pagesSpec('slow_items', pages.url));
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto(`/pipelines/${job}`);
  await page.getByRole('button', { name: 'Run', exact: true }).click();
  await page.getByRole('status').filter({ hasText: 'running' }).waitFor();
  await page.getByText('live', { exact: true }).waitFor();
  await until('a page is held', () => pages.asked.includes(4));
  await page.getByRole('tab', { name: /Log/ }).click();
  await page.getByText(/slow_items begins/).waitFor();
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.getByRole('button', { name: 'Stop it' }).click();
  await page.getByRole('button', { name: 'Stopping…' }).waitFor();
  pages.release();
  await page.getByRole('status').filter({ hasText: 'cancelled' }).waitFor();
  const stopped = page.url();
  await page.getByRole('button', { name: 'Run again' }).click();
  await page.waitForURL((url) => url.href !== stopped);
  await page.getByRole('status').filter({ hasText: 'succeeded' }).waitFor();
  await page.getByRole('table', { name: 'Balance' }).getByRole('cell', { name: '80', exact: true }).first().waitFor();
  await page.getByRole('figure', { name: /: 80(,|$)/ }).waitFor();
  await page.goto(`/pipelines/${job}`);
  await page.getByRole('figure', { name: /: 80(,|$)/ }).waitFor();
  await end();
});

it('several pipelines are started, paused and resumed at once; two runs are compared', async () => {
  for (const name of ['bulk_a', 'bulk_b']) await program.job(copySpec(name));
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto('/pipelines');
  await page.getByLabel('Search pipelines').fill('bulk_');
  await page.getByRole('status').filter({ hasText: /^2 of/ }).waitFor();
  const both = async (act: string, said: string) => {
    await page.getByRole('checkbox', { name: 'Choose all' }).check();
    await page.getByRole('group', { name: 'Chosen pipelines' }).getByRole('button', { name: act, exact: true }).click();
    await page.getByRole('dialog').getByRole('button', { name: act, exact: true }).click();
    await page.getByText(said).waitFor();
  };
  await both('Pause', '2 paused');
  await page.getByRole('cell', { name: 'paused' }).nth(1).waitFor();
  await both('Resume', '2 resumed');
  await both('Run', '2 started');
  await page.goto('/runs');
  const chosen = page.getByRole('checkbox', { name: /Choose the run of bulk_/ });
  await chosen.nth(1).waitFor();
  await chosen.nth(0).check();
  await chosen.nth(1).check();
  await page.getByRole('link', { name: 'Compare' }).click();
  await page.getByText('the same').first().waitFor();
  await end();
});

it('a version is compared and rolled back to', async () => {
  const job = await program.job(ordersSpec('turned'));
  await program.api('PUT', `/api/v1/jobs/${job}`, { spec: ordersSpec('turned', "status = 'paid'") });
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto(`/pipelines/${job}/versions`);
  await page.getByText('What version 2 changed').waitFor();
  await page.getByText("status = 'paid'").waitFor();
  await page.getByRole('button', { name: /^Version 1/ }).click();
  await page.getByRole('button', { name: 'Go back to version 1' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Go back' }).click();
  await page.getByText('Version 3 is the file of version 1').waitFor();
  const now = await program.api<{ version: number; spec: string }>('GET', `/api/v1/jobs/${job}`);
  expect([now.version, now.spec]).toEqual([3, ordersSpec('turned')]);
  await end();
});

it('everything by keyboard', async () => {
  const { page, end } = await visit(browser, program.url);
  await page.goto('/');
  await page.getByRole('button', { name: 'Sign in' }).waitFor();
  // The field has the focus already.
  await page.keyboard.type(program.token);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  await settled(page);
  const tabTo = async (name: string) => {
    for (let step = 0; step < 60; step++) {
      await page.keyboard.press('Tab');
      const at = await page.evaluate(() => {
        const element = document.activeElement;
        return element === null ? '' : (element.getAttribute('aria-label') ?? element.textContent ?? '').trim();
      });
      if (at === name) return;
    }
    throw new Error(`${name} is not reached with the tabulator`);
  };
  await tabTo('To the page');
  await tabTo('Pipelines');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Pipelines', exact: true }).waitFor();
  await page.getByRole('link', { name: 'first_orders' }).waitFor();
  await tabTo('Search pipelines');
  await page.keyboard.type('first');
  await page.getByRole('status').filter({ hasText: /^1 of/ }).waitFor();
  await tabTo('first_orders');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'first_orders' }).waitFor();
  await settled(page);
  await tabTo('Run');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Run of first_orders' }).waitFor();
  await page.getByRole('status').filter({ hasText: 'succeeded' }).waitFor();
  await end();
});
