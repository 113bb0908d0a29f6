import type { Browser } from 'playwright-core';
import { expect } from 'vitest';
import { accessible, settled, visit } from './browser';

/** A page while its data are on the way, when the server cannot give them, and after trying again. What `spared` matches is answered as always. */
export async function loadsAndFails(browser: Browser, url: string, token: string, path: string, spared = /\/api\/v1\/me$/) {
  const { page, end } = await visit(browser, url, { token });
  let go = () => {};
  const held = new Promise<void>((resolve) => (go = resolve));
  const problem = {
    type: 'about:blank',
    title: 'Service Unavailable',
    status: 503,
    detail: 'the database does not answer',
    code: 'WEIR-API-041',
    hint: 'try again in a moment',
    instance: 'x',
  };
  let broken = true;
  await page.route(/\/api\/v1\//, async (route) => {
    if (spared.test(route.request().url())) return route.continue();
    await held;
    if (broken) return route.fulfill({ status: 503, contentType: 'application/problem+json', body: JSON.stringify(problem) });
    return route.continue();
  });
  await page.goto(path);
  await page.getByRole('status').filter({ hasText: '…' }).first().waitFor();
  await accessible(page, `loading ${path}`);
  go();
  await page.getByRole('alert').first().waitFor();
  expect(await page.getByRole('alert').first().textContent()).toContain('the database does not answer');
  await accessible(page, `failing ${path}`);
  broken = false;
  await page.getByRole('button', { name: 'Try again' }).first().click();
  await page.getByRole('alert').first().waitFor({ state: 'detached' });
  await settled(page);
  await end();
}

/** A page for whom the role is too low. */
export async function isForbidden(browser: Browser, url: string, token: string, path: string) {
  const { page, end } = await visit(browser, url, { token });
  await page.goto(path);
  await page.getByText('Not for your role').first().waitFor();
  await accessible(page, `forbidden ${path}`);
  await end();
}
