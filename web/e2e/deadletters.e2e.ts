// Records that could not be processed: found, looked at, corrected, replayed into the target exactly once, given up. What stands in them is hostile.
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accessible, fits, settled, startBrowser, visit } from './browser';
import { lookAt } from './looks';
import { type Program, startProgram } from './program';
import { isForbidden, loadsAndFails } from './states';

const HOSTILE = '<img src=x onerror="window.hit=1">';

const spec = (name: string) => `pipeline: ${name}
source:
  file: {path: in/prices.csv, columns: {price: string}}
transforms:
  - cast: {columns: {price: "decimal(10,2)"}}
sink:
  file: {path: out/${name}, format: ndjson, write_mode: append}
dead_letters: {allow: 100}
`;

const PRICES = `id,price\n1,1.50\n2,two\n3,3.25\n4,"${HOSTILE.replaceAll('"', '""')}"\n5,\u202Ecod\n6,${'W'.repeat(300)}\n7,seven,too,many\n`;

let browser: Browser;
let program: Program;
let job: string;
let run: { id: string; status: string };

beforeAll(async () => {
  [browser, program] = await Promise.all([startBrowser(), startProgram()]);
  await program.write('in/prices.csv', PRICES);
  job = await program.job(spec('prices'));
  run = await program.run(job);
});
afterAll(async () => {
  await browser?.close();
  await program?.stop();
});

const rows = async () => (await program.lines('out/prices')).map((line) => JSON.parse(line) as { id: number; price: unknown }).map(({ id, price }) => `${id}:${price}`).sort();

async function harmless(page: Page, about: string) {
  expect(await page.evaluate(() => (window as unknown as { hit?: number }).hit), about).toBeUndefined();
  expect(await page.locator('img[src="x"]').count(), about).toBe(0);
}

describe('how it looks', () => {
  it('the stage is what it says', async () => {
    expect(run.status).toBe('succeeded');
    expect(await rows()).toEqual(['1:1.5', '3:3.25']);
  });
  it('the list and a letter', async () => {
    await lookAt(browser, program.url, program.token, { name: 'dead-letters', path: `/pipelines/${job}/dead-letters`, ready: /is no decimal/ });
    const { items } = await program.api<{ items: { id: number; record: { content: string } }[] }>('GET', `/api/v1/jobs/${job}/dead-letters`);
    const hostile = items.find(({ record }) => record.content.includes('onerror'));
    await lookAt(browser, program.url, program.token, { name: 'dead-letter', path: `/pipelines/${job}/dead-letters?letter=${hostile?.id}`, ready: 'What was wrong' });
  });
  it('loading, failing, forbidden, empty', async () => {
    await loadsAndFails(browser, program.url, program.token, `/pipelines/${job}/dead-letters`, /\/api\/v1\/(me|jobs\/[\w-]+|schedules\/preview.*|runs.*)$/);
    await isForbidden(browser, program.url, await program.tokenOf('viewer'), `/pipelines/${job}/dead-letters`);
    const { page, end } = await visit(browser, program.url, { token: program.token });
    await page.goto(`/pipelines/${job}/dead-letters?state=discarded`);
    await page.getByText('None', { exact: true }).waitFor();
    await page.goto(`/pipelines/${job}/dead-letters?stream=nothing`);
    await page.getByText('None fits the conditions.').waitFor();
    await page.goto(`/pipelines/${job}/dead-letters?letter=4711`);
    await page.getByText('There is no such thing').waitFor();
    await end();
  });
});

it('what stands in a letter is text, wide and narrow', async () => {
  for (const width of [1280, 320]) {
    const { page, end } = await visit(browser, program.url, { token: program.token, width });
    await page.goto(`/runs/${run.id}`);
    await page.getByRole('link', { name: 'its dead letters' }).click();
    const letters = page.getByRole('button', { name: /^Dead letter \d+ at/ });
    await letters.nth(4).waitFor();
    for (let index = 0; index < 5; index++) {
      await letters.nth(index).click();
      const drawer = page.getByRole('dialog');
      await drawer.getByText('What was wrong').waitFor();
      await settled(page);
      await fits(page, `letter ${index} at ${width}`);
      await harmless(page, `letter ${index} at ${width}`);
      await page.keyboard.press('Escape');
      await drawer.waitFor({ state: 'detached' });
    }
    await end();
  }
});

it('a letter is corrected and replayed: its row comes to the target, once', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto(`/pipelines/${job}/dead-letters`);
  await page.getByRole('row').filter({ hasText: '"two"' }).getByRole('button').click();
  const drawer = page.getByRole('dialog', { name: /^Dead letter/ });
  await drawer.getByRole('button', { name: 'Correct it' }).click();
  const editor = drawer.getByRole('textbox', { name: 'Corrected record' });
  const write = async (text: string) => {
    await editor.click();
    await page.keyboard.press('ControlOrMeta+a');
    await page.keyboard.insertText(text);
  };
  await write('{"id": "2", "price": "2.00"}');
  await drawer.getByRole('button', { name: 'Keep the correction' }).click();
  await drawer.getByRole('alert').getByText(/^id: "2" would become 2/).waitFor();
  expect(await drawer.locator('.cm-lintRange-error').count()).toBe(1);
  await accessible(page, 'a correction that is refused');
  await write('{"id": 2, "price": "2.00"}');
  await drawer.getByRole('button', { name: 'Keep the correction' }).click();
  await drawer.getByText(/^Corrected by/).waitFor();
  await drawer.locator('.cm-deletedChunk').getByText('two').waitFor();
  await drawer.getByRole('button', { name: 'Replay it' }).click();
  await page.getByRole('dialog', { name: /^Replay/ }).getByRole('button', { name: 'Replay', exact: true }).click();
  await page.getByRole('heading', { name: 'Run of prices' }).waitFor();
  await page.getByRole('status').filter({ hasText: 'succeeded' }).waitFor();
  await page.getByRole('region', { name: 'Replayed' }).getByText('1', { exact: true }).waitFor();
  await page.getByRole('region', { name: 'Still waiting' }).getByText('0', { exact: true }).waitFor();
  expect(await rows()).toEqual(['1:1.5', '2:2', '3:3.25']);
  await page.goto('/runs');
  await page.getByRole('cell', { name: 'dead letters', exact: true }).waitFor();
  await page.goto(`/pipelines/${job}/dead-letters?state=replayed`);
  await page.getByRole('row').filter({ hasText: '"two"' }).waitFor();
  await end();
});

it('a line of a file is corrected as a line', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto(`/pipelines/${job}/dead-letters?code=WEIR-FMT-101`);
  await page.getByRole('button', { name: /^Dead letter/ }).click();
  const drawer = page.getByRole('dialog', { name: /^Dead letter/ });
  await drawer.getByRole('button', { name: 'Correct it' }).click();
  await drawer.getByRole('textbox', { name: 'Corrected record' }).click();
  await page.keyboard.press('ControlOrMeta+a');
  await page.keyboard.insertText('7,7.00');
  await drawer.getByRole('button', { name: 'Keep the correction' }).click();
  await drawer.getByText(/^Corrected by/).waitFor();
  await drawer.getByRole('button', { name: 'Replay it' }).click();
  await page.getByRole('dialog', { name: /^Replay/ }).getByRole('button', { name: 'Replay', exact: true }).click();
  await page.getByRole('status').filter({ hasText: 'succeeded' }).waitFor();
  expect(await rows()).toEqual(['1:1.5', '2:2', '3:3.25', '7:7']);
  await end();
});

it('those that are left: a replay says why they wait, and they are given up', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  await page.goto(`/pipelines/${job}/dead-letters`);
  await page.getByRole('button', { name: 'Replay all that fit' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Replay', exact: true }).click();
  await page.getByRole('status').filter({ hasText: 'failed' }).waitFor();
  await page.getByText('3 of 3 dead letters still wait').waitFor();
  await page.getByRole('region', { name: 'Still waiting' }).getByText('3', { exact: true }).waitFor();
  await page.getByText(/^Letter \d+: /).nth(2).waitFor();
  await harmless(page, 'a replay that failed');
  expect(await rows()).toEqual(['1:1.5', '2:2', '3:3.25', '7:7']);
  await page.goto(`/pipelines/${job}/dead-letters`);
  await page.getByRole('checkbox', { name: 'Choose all' }).check();
  await page.getByRole('status').filter({ hasText: '3 chosen' }).waitFor();
  await page.getByRole('button', { name: 'Give up' }).click();
  const asked = page.getByRole('dialog', { name: 'Give up 3 dead letters?' });
  await asked.getByLabel('Why').fill('they were never prices');
  await asked.getByRole('button', { name: 'Give up' }).click();
  await page.getByText('3 given up').waitFor();
  await page.getByText('No dead letter waits').waitFor();
  await page.goto(`/pipelines/${job}/dead-letters?state=discarded`);
  await page.getByRole('button', { name: /^Dead letter/ }).first().click();
  await page.getByText(/they were never prices/).waitFor();
  await end();
});
