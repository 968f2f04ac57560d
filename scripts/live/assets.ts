/**
 * The files of the live pages, ready to be served.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { bundle } from "../../lib/page/bundle.ts";
import { INTER } from "../../lib/page/fonts.ts";
import type { Asset } from "./http.ts";
import chatStyle from "./page/chat.css" with { type: "text" };
import chat from "./page/chat.html" with { type: "text" };
import style from "./page/page.css" with { type: "text" };
import page from "./page/page.html" with { type: "text" };

const script = async (entry: string): Promise<Asset> => ({
  type: "text/javascript; charset=utf-8",
  body: await bundle(fileURLToPath(new URL(`page/${entry}`, import.meta.url))),
});

const COMMON: Readonly<Record<string, Asset>> = {
  "/page.css": { type: "text/css; charset=utf-8", body: style },
  "/inter-400.woff2": { type: "font/woff2", body: INTER[400] },
  "/inter-600.woff2": { type: "font/woff2", body: INTER[600] },
};

/**
 * The page of a load, by its paths. Needs `--allow-run`, for the bundler.
 *
 * @throws {Error} If its script cannot be bundled.
 */
export async function liveAssets(): Promise<Record<string, Asset>> {
  return {
    ...COMMON,
    "/": { type: "text/html; charset=utf-8", body: page },
    "/page.js": await script("page.ts"),
  };
}

/** The page of a chat. The same applies. */
export async function chatAssets(): Promise<Record<string, Asset>> {
  return {
    ...COMMON,
    "/": { type: "text/html; charset=utf-8", body: chat },
    "/chat.css": { type: "text/css; charset=utf-8", body: chatStyle },
    "/chat.js": await script("chat.ts"),
  };
}
