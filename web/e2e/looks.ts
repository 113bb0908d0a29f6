import type { Browser } from 'playwright-core';
import { accessible, fits, picture, settled, visit } from './browser';

export interface Look {
  /** The picture's name. */
  name: string;
  path: string;
  /** A text by which the page is known to be there. */
  ready: string | RegExp;
}

/** A page in light and dark, wide and narrow: nothing serious for axe, not wider than the window, no complaint. With pictures if they are wanted. */
export async function lookAt(browser: Browser, url: string, token: string | undefined, { name, path, ready }: Look) {
  for (const [dark, width, height] of [[false, 1280, 800], [true, 1280, 800], [false, 320, 640], [false, 2560, 1440]] as const) {
    const about = `${name} ${dark ? 'dark' : 'light'} ${width}`;
    const seen = await visit(browser, url, { dark, width, height, ...(token === undefined ? {} : { token }) });
    await seen.page.goto(path);
    await seen.page.getByText(ready).first().waitFor();
    await settled(seen.page);
    await fits(seen.page, about);
    await accessible(seen.page, about);
    if (width === 1280) await picture(seen.page, `${name}-${dark ? 'dark' : 'light'}`);
    await seen.end();
  }
}
