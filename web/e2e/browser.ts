import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, type BrowserContext, type Page, chromium } from 'playwright-core';
import { expect } from 'vitest';

const CANDIDATES = [process.env.WEIR_CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const PICTURES = fileURLToPath(new URL('../../docs/images/ui/', import.meta.url));
const axe = readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export async function startBrowser(): Promise<Browser> {
  const executablePath = CANDIDATES.find((path) => path !== undefined && existsSync(path));
  if (executablePath === undefined) throw new Error('Chromium is missing: scripts/setup.sh test installs it, or WEIR_CHROMIUM names it');
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage', '--force-color-profile=srgb', '--font-render-hinting=none'] });
}

export interface Visit {
  page: Page;
  context: BrowserContext;
  /** What the page must not do: errors, refusals of the security policy, dialogs. Looked at when the visit ends. */
  complaints: string[];
  end(): Promise<void>;
}

export interface Look {
  token?: string;
  width?: number;
  height?: number;
  dark?: boolean;
  /** Nothing is in the cache yet. */
  cold?: boolean;
}

async function newContext(browser: Browser, url: string): Promise<BrowserContext> {
  const context = await browser.newContext({ baseURL: url, reducedMotion: 'reduce', timezoneId: 'UTC', locale: 'en-GB' });
  if (process.env.WEIR_PAGES === 'dist') await fromDist(context);
  return context;
}

/** By server: what was loaded once is in the cache of the next visit, as with a person. Nothing else is left of a visit. */
const contexts = new WeakMap<Browser, Map<string, Promise<BrowserContext>>>();

function warm(browser: Browser, url: string): Promise<BrowserContext> {
  const known = contexts.get(browser) ?? new Map<string, Promise<BrowserContext>>();
  contexts.set(browser, known);
  const context = known.get(url) ?? newContext(browser, url);
  known.set(url, context);
  return context;
}

/** A page of a person who is signed in (with a token) or not. */
export async function visit(browser: Browser, url: string, { token, width = 1280, height = 800, dark = false, cold = false }: Look = {}): Promise<Visit> {
  const context = await (cold ? newContext(browser, url) : warm(browser, url));
  const page = await context.newPage();
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme: dark ? 'dark' : 'light' });
  if (token !== undefined) await page.addInitScript((secret) => sessionStorage.setItem('weir.token', secret), token);
  page.setDefaultTimeout(20_000);
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(`error: ${error.message}`));
  page.on('dialog', (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('console', (message) => {
    // An answer of the API that refuses is told by the browser; the pages show it themselves.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) complaints.push(`console: ${message.text()}`);
  });
  return {
    page,
    context,
    complaints,
    async end() {
      if (cold) await context.close();
      else await leave(page);
      expect(complaints).toEqual([]);
    },
  };
}

/** Closes a page; what it has kept in the browser goes with it. */
async function leave(page: Page) {
  if (page.url().startsWith('http')) await page.evaluate(() => localStorage.clear());
  await page.close();
}

const MEDIA: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };

/** The pages of web/dist in place of those in the program (`WEIR_PAGES=dist`): to try a change of the pages without building the program. */
async function fromDist(context: BrowserContext) {
  const dist = fileURLToPath(new URL('../dist', import.meta.url));
  await context.route(/^http:\/\/[^/]+\/(?!api\/|docs)/, async (route) => {
    const { pathname } = new URL(route.request().url());
    const path = pathname.startsWith('/assets/') || pathname === '/favicon.svg' ? pathname : '/index.html';
    await route.fulfill({ body: await readFile(dist + path), contentType: MEDIA[extname(path)] ?? 'text/plain' });
  });
}

interface Violation {
  id: string;
  impact: string | null;
  nodes: { target: unknown[]; failureSummary?: string }[];
}

/** No serious or critical finding of axe on the page as it is. */
export async function accessible(page: Page, about: string) {
  // As the browser's own tools do it, past the page's policy: axe is no part of the page. Once for a page as it was loaded.
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(await axe);
  const found = await page.evaluate(async () => {
    const { axe } = window as unknown as { axe: { run(context: Document, options: object): Promise<{ violations: unknown[] }> } };
    return (await axe.run(document, { resultTypes: ['violations'] })).violations;
  });
  const serious = (found as Violation[]).filter(({ impact }) => impact === 'serious' || impact === 'critical');
  expect(serious.map(({ id, nodes }) => `${about}: ${id} at ${nodes.map(({ target, failureSummary }) => `${target.join(' ')} (${failureSummary ?? ''})`).join(', ')}`)).toEqual([]);
}

/** The page is not wider than the window. */
export async function fits(page: Page, about: string) {
  const [whole, window] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  expect(whole, `${about} is wider than the window`).toBeLessThanOrEqual(window ?? 0);
}

/** The same on a phone and on a desk; it is loaded once. */
export async function fitsWideAndNarrow(page: Page, about: string) {
  for (const width of [320, 1280]) {
    await page.setViewportSize({ width, height: 800 });
    await settled(page);
    await still(page);
    await fits(page, `${about} at ${width}`);
  }
}

/** Waits until nothing is asked for and nothing says that it loads. */
export async function settled(page: Page) {
  await page.waitForFunction(() => document.querySelector('#root > *') !== null && document.querySelector('[aria-busy="true"], .mantine-Skeleton-root') === null);
  await page.evaluate(() => document.fonts.ready.then(() => undefined));
}

/** Waits until the page is drawn and its colours have changed. */
export const still = (page: Page) =>
  page.evaluate(async () => {
    for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
    const ending = document.getAnimations().filter((animation) => animation.effect?.getComputedTiming().iterations !== Infinity);
    await Promise.allSettled(ending.map((animation) => animation.finished));
  });

/** Keeps a picture for the documentation: `docs/images/ui/NAME.png`. Only with `WEIR_PICTURES=1`: times and ids differ from run to run. */
export async function picture(page: Page, name: string) {
  if (process.env.WEIR_PICTURES !== '1') return;
  await mkdir(PICTURES, { recursive: true });
  await page.mouse.move(0, 0);
  await page.screenshot({ path: `${PICTURES}${name}.png`, animations: 'disabled' });
}
