// Names that want to be more than names: on every page they are text, nothing runs, and the layout holds.
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { accessible, fitsWideAndNarrow, startBrowser, visit } from './browser';
import { type Program, startProgram } from './program';
import { copySpec, orders } from './stage';

const HOSTILE = [
  '<img src=x onerror="window.hit=1">',
  '"><script>window.hit=1</script>',
  '\u202Etxt.exe\u202C \u05E9\u05DC\u05D5\u05DD \u0645\u0631\u062D\u0628\u0627',
  '🧑‍🚀🏳️‍🌈'.repeat(12),
  'W'.repeat(200),
  "javascript:alert(1)//'`${7*7}",
];
const LONG = 'x'.repeat(10_000);

let browser: Browser;
let program: Program;
const made: { job: string; run: string; name: string }[] = [];

beforeAll(async () => {
  [browser, program] = await Promise.all([startBrowser(), startProgram()]);
  await program.write('in/orders.csv', orders(5));
  for (const [index, name] of HOSTILE.entries()) {
    const spec = copySpec(`plain_${index}`, index % 2 === 0 ? 'in/orders.csv' : `in/<img src=x onerror=hit()> ${index}.csv`);
    const job = await program.job(spec, { name, description: `${name} ${LONG.slice(0, 1_500)}`, labels: { team: name.slice(0, 60) } });
    const run = await program.run(job);
    made.push({ job, run: run.id, name });
  }
});
afterAll(async () => {
  await browser?.close();
  await program?.stop();
});

it('on every page, wide and narrow', async () => {
  const { page, end } = await visit(browser, program.url, { token: program.token });
  const look = async (path: string) => {
    await page.goto(path);
    await page.getByRole('heading', { level: 1 }).waitFor();
    await fitsWideAndNarrow(page, path);
    expect(await page.evaluate(() => (window as unknown as { hit?: number }).hit), path).toBeUndefined();
    expect(await page.locator('img[src="x"], #root script').count(), path).toBe(0);
  };
  for (const path of ['/', '/pipelines', '/runs']) await look(path);
  await accessible(page, 'runs with hostile names');
  await page.setViewportSize({ width: 320, height: 800 });
  await accessible(page, 'runs with hostile names, narrow');
  for (const { job, run } of made) {
    for (const path of [`/pipelines/${job}`, `/runs/${run}`]) await look(path);
  }
  const [first] = made;
  for (const tab of ['runs', 'streams', 'metrics', 'alerts', 'versions']) await look(`/pipelines/${first?.job}/${tab}`);
  await look(`/runs/${first?.run}/log`);
  await look(`/runs/compare?a=${first?.run}&b=${made[1]?.run}`);
  // What comes with the address is text too.
  await look(`/pipelines?q=${encodeURIComponent(HOSTILE[0] ?? '')}`);
  await page.goto(`/pipelines/${encodeURIComponent(HOSTILE[1] ?? '')}`);
  await page.getByText('There is no such thing').waitFor();
  expect(await page.evaluate(() => (window as unknown as { hit?: number }).hit)).toBeUndefined();
  await end();
});

it('the answers hold to their policy', async () => {
  const page = await fetch(`${program.url}/pipelines`, { headers: { accept: 'text/html' } });
  const policy = page.headers.get('content-security-policy') ?? '';
  for (const part of ["default-src 'none'", "script-src 'self';", "frame-ancestors 'none'", "base-uri 'none'", "connect-src 'self'"]) expect(policy).toContain(part);
  expect([page.headers.get('x-content-type-options'), page.headers.get('cache-control'), page.headers.get('set-cookie')]).toEqual(['nosniff', 'no-cache', null]);
  const html = await page.text();
  expect(html).not.toMatch(/<script(?![^>]*\bsrc=)[^>]*>/);
  expect(html).not.toMatch(/(src|href)="https?:/);
  const script = /src="(\/assets\/[^"]+\.js)"/.exec(html)?.[1] ?? '';
  const asset = await fetch(program.url + script, { headers: { 'accept-encoding': 'br' } });
  expect([asset.status, asset.headers.get('content-encoding'), asset.headers.get('cache-control')]).toEqual([200, 'br', 'public, max-age=31536000, immutable']);
});
