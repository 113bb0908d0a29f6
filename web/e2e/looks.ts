import type { Browser } from 'playwright-core';
import { accessible, fits, picture, settled, still, visit } from './browser';

export interface Look {
  /** The picture's name. */
  name: string;
  path: string;
  /** A text by which the page is known to be there. */
  ready: string | RegExp;
}

/**
 * A page in light and dark, wide and narrow: nothing serious for axe, not wider than the window, no complaint. With pictures if they are wanted. It is
 * loaded once: who turns a phone or the lights off does not load it again either.
 */
export async function lookAt(browser: Browser, url: string, token: string | undefined, { name, path, ready }: Look) {
  const { page, end } = await visit(browser, url, { width: 1280, height: 800, ...(token === undefined ? {} : { token }) });
  await page.goto(path);
  await page.getByText(ready).first().waitFor();
  for (const [scheme, width, height] of [['light', 1280, 800], ['dark', 1280, 800], ['light', 320, 640], ['light', 3840, 2160]] as const) {
    const about = `${name} ${scheme} ${width}`;
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: scheme });
    await page.waitForFunction((wanted) => document.documentElement.dataset.mantineColorScheme === wanted, scheme);
    await settled(page);
    await still(page);
    await fits(page, about);
    await accessible(page, about);
    if (width === 1280) await picture(page, `${name}-${scheme}`);
  }
  await end();
}
