/**
 * A real browser for tests of pages: Chromium, without a window.
 *
 * @example
 * ```ts
 * Deno.test({
 *   name: "the page is without a fault",
 *   ignore: !HAS_BROWSER,
 *   fn: async () => {
 *     await using browser = await startBrowser();
 *     const { page, errors } = await browser.open("file:///tmp/page.html");
 *     assertEquals([...errors, ...await faults(page)], []);
 *   },
 * });
 * ```
 *
 * @module
 */
import axe from "axe-core";
import type { BrowserContextOptions, Page } from "playwright-core";
import { isInstalled } from "../catalogue/tools.ts";

const COMMAND = "chromium";
/** Whether there is a browser here; where not, `deno task test` tells how to get it. */
export const HAS_BROWSER: boolean = Deno.build.os === "linux" && await isInstalled(COMMAND);

/** A page, and what it did. */
export interface OpenPage {
  page: Page;
  /** What the console reported as an error or a warning, and what was thrown and not caught. */
  errors: string[];
  /** The addresses that were asked for, the page's own first. */
  requests: string[];
}

/** A browser; it ends with the block that holds it. */
export interface TestBrowser extends AsyncDisposable {
  /** Opens a page of its own, with storage of its own, and waits until it is loaded. */
  open(url: string, options?: BrowserContextOptions): Promise<OpenPage>;
}

async function pathOf(command: string): Promise<string> {
  const { stdout } = await new Deno.Command("sh", { args: ["-c", `command -v ${command}`], stdin: "null" }).output();
  return new TextDecoder().decode(stdout).trim();
}

/**
 * Starts the browser. It speaks through a pipe, so it ends with this process whatever happens. Needs `--allow-read`,
 * `--allow-run`, `--allow-sys`, `--allow-write` for the temporary folder, and `--ignore-env --ignore-read=/proc` (or all of
 * either), for playwright-core looks at variables and at /proc.
 */
export async function startBrowser(): Promise<TestBrowser> {
  const { chromium } = await import("playwright-core"); // it reads the environment when it is loaded: not where it is unused
  const browser = await chromium.launch({
    executablePath: await pathOf(COMMAND),
    args: Deno.uid() === 0 ? ["--no-sandbox"] : [], // Chromium refuses to be root in a sandbox
  });
  return {
    async open(url, options = {}) {
      const page = await (await browser.newContext({ reducedMotion: "reduce", ...options })).newPage();
      const errors: string[] = [];
      const requests: string[] = [];
      page.on("console", (message) => {
        if (["error", "warning"].includes(message.type())) errors.push(message.text());
      });
      page.on("pageerror", (error) => errors.push(error.message));
      page.on("request", (request) => requests.push(request.url()));
      await page.goto(url);
      return { page, errors, requests };
    },
    [Symbol.asyncDispose]: () => browser.close(),
  };
}

/** What of a page keeps people out, as axe-core finds it: the faults that it calls serious or critical, a line each. */
export async function faults(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() =>
    (globalThis as unknown as { axe: typeof axe }).axe.run({ resultTypes: ["violations"] })
  );
  return violations.filter(({ impact }) => impact === "serious" || impact === "critical").map(({ id, help, nodes }) =>
    `${id}: ${help}: ${nodes.slice(0, 3).map(({ target }) => target.join(" ")).join(", ")}`
  );
}
