/**
 * The files of the live page, ready to be served.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { bundle } from "../../lib/page/bundle.ts";
import { INTER } from "../../lib/page/fonts.ts";
import type { Asset } from "./http.ts";
import style from "./page/page.css" with { type: "text" };
import page from "./page/page.html" with { type: "text" };

/**
 * The page by its paths. Needs `--allow-run`, for the bundler.
 *
 * @throws {Error} If its script cannot be bundled.
 */
export async function liveAssets(): Promise<Record<string, Asset>> {
  return {
    "/": { type: "text/html; charset=utf-8", body: page },
    "/page.css": { type: "text/css; charset=utf-8", body: style },
    "/page.js": {
      type: "text/javascript; charset=utf-8",
      body: await bundle(fileURLToPath(new URL("page/page.ts", import.meta.url))),
    },
    "/inter-400.woff2": { type: "font/woff2", body: INTER[400] },
    "/inter-600.woff2": { type: "font/woff2", body: INTER[600] },
  };
}
