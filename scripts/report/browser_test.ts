import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Chart } from "chart.js";
import type { Locator, Page } from "playwright-core";
import { faults, HAS_BROWSER, type OpenPage, startBrowser, type TestBrowser } from "../../lib/testing/browser.ts";
import { type ChartSpec, folded } from "../../lib/charts/config.ts";
import type { PageData } from "./data.ts";
import { readContents, type ReportContents } from "./contents.ts";
import { renderReport, type Scripts } from "./page/page.tsx";
import { bundleScripts } from "./report.ts";

type Drawn = { labels: unknown[]; data: unknown[][] };

/** Brings a chart near and tells what Chart.js has drawn there. */
async function drawn(page: Page, canvas: Locator): Promise<Drawn> {
  await canvas.scrollIntoViewIfNeeded();
  const handle = await canvas.elementHandle();
  await page.waitForFunction(
    (of) => of !== null && (globalThis as unknown as { Chart: typeof Chart }).Chart.getChart(of as HTMLCanvasElement),
    handle,
  );
  return await canvas.evaluate((of) => {
    const { data } = (globalThis as unknown as { Chart: typeof Chart }).Chart.getChart(of as HTMLCanvasElement)!;
    const sets = data.datasets.map(({ label }) => label);
    return {
      labels: data.labels!.length > 0 ? data.labels! : sets,
      data: data.datasets.map((set) => set.data as unknown[]),
    };
  });
}

const expected = (spec: ChartSpec): Drawn =>
  spec.kind === "lines"
    ? {
      labels: spec.series.map(({ name }) => name),
      data: spec.series.map(({ points }) => points.map(({ x, value }) => ({ x, y: value }))),
    }
    : { labels: spec.items.map(({ name }) => name), data: [spec.items.map(({ value }) => value)] };

const dataOf = async (page: Page): Promise<PageData> => {
  const all = JSON.parse((await page.textContent("#data"))!);
  return all[(await page.getAttribute("#main", "data-machine"))!];
};
const rowsShown = (page: Page) =>
  page.$$eval("#servers tbody tr:not([hidden])", (rows) => rows.map((row) => (row as HTMLElement).dataset["name"]!));

async function loads({ page, errors, requests }: OpenPage, url: string): Promise<void> {
  assertEquals(requests.filter((of) => !of.startsWith("data:") && !of.startsWith("blob:")), [url]);
  assertEquals(errors, []);
  assert(await page.isVisible("#theme"));
}

async function draws({ page }: OpenPage): Promise<void> {
  const { charts } = await dataOf(page);
  for (const [id, spec] of Object.entries(charts)) {
    assertEquals(await drawn(page, page.locator(`canvas[data-chart="${id}"]`)), expected(folded(spec).spec), id);
  }
  assert(Object.keys(charts).length > 5);
}

async function filters({ page }: OpenPage): Promise<void> {
  const all = await rowsShown(page);
  const chart = page.locator('canvas[data-chart="memory"]');
  const found = () => page.textContent("#found");
  assertEquals(await found(), `${all.length} of ${all.length} servers`);
  await page.fill("#filter [type=search]", "EPOLL edge");
  assertEquals(await rowsShown(page), ["epoll-edge"]);
  assertEquals(await found(), `1 of ${all.length} servers`);
  assertEquals((await drawn(page, chart)).labels, ["epoll-edge"]);
  assertMatch((await chart.getAttribute("aria-label"))!, /^[^.]*\. epoll-edge: [^:]*$/);
  await page.fill("#filter [type=search]", "no such server");
  assertEquals(await found(), `0 of ${all.length} servers: nothing fits this filter`);
  await page.fill("#filter [type=search]", "");
  await page.uncheck("#filter [value=blocking]");
  await page.uncheck("#filter [value=peer]");
  const families = await page.$$eval(
    "#servers tbody tr:not([hidden])",
    (rows) => rows.map((row) => [(row as HTMLElement).dataset["family"]!, (row as HTMLElement).dataset["kind"]!]),
  );
  assert(families.length > 5 && families.every(([family, kind]) => family !== "blocking" && kind === "ours"));
  await page.check("#filter [value=blocking]");
  await page.check("#filter [value=peer]");
  assertEquals(await rowsShown(page), all);
}

async function sorts({ page }: OpenPage): Promise<void> {
  const heading = page.locator('#servers th[data-key="requests_per_s"]');
  const values = () =>
    heading.evaluate((th) =>
      [...(th.closest("table") as HTMLTableElement).tBodies[0]!.rows].map((row) =>
        row.cells[(th as HTMLTableCellElement).cellIndex]!.dataset["value"]!
      )
    );
  const numbers = (await values()).filter((value) => value !== "").map(Number).sort((a, b) => a - b);
  const missing = (await values()).filter((value) => value === "");
  assert(numbers.length > 10 && missing.length > 0);
  await heading.locator("button").focus();
  await page.keyboard.press("Enter");
  assertEquals(await values(), [...numbers.map(String), ...missing]);
  assertEquals(await heading.getAttribute("aria-sort"), "ascending");
  await page.keyboard.press("Enter");
  assertEquals(await values(), [...numbers.toReversed().map(String), ...missing]);
  assertEquals(await heading.getAttribute("aria-sort"), "descending");
  await page.click('#servers th[data-key="name"] button');
  const names = await rowsShown(page);
  assertEquals(names, names.toSorted((a, b) => a.localeCompare(b)));
  assertEquals(await page.locator("#servers [aria-sort]").count(), 1);
}

async function downloads({ page }: OpenPage): Promise<void> {
  const { downloads: { servers, runs, comparisons } } = await dataOf(page);
  const get = async (of: string, format: string) => {
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.click(`[data-download=${of}][data-format=${format}]`),
    ]);
    assertEquals(download.suggestedFilename(), `c10k-${of}.${format}`);
    return await Deno.readTextFile(await download.path());
  };
  assertEquals(JSON.parse(await get("runs", "json")), runs);
  assertEquals(JSON.parse(await get("comparisons", "json")), comparisons);
  await page.fill("#filter [type=search]", "rust-tokio");
  const csv = await get("servers", "csv");
  await page.fill("#filter [type=search]", "");
  assertEquals(csv.split("\r\n").slice(0, 1), [Object.keys(servers[0]!).join(",")]);
  assertMatch(csv.split("\r\n")[1]!, /^rust-tokio,\d+/);
  assertEquals(csv.trim().split("\r\n").length, 2);
}

async function changesTheme({ page }: OpenPage): Promise<void> {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await ground();
  assertEquals(await page.textContent("#theme"), "Dark theme");
  await page.click("#theme");
  const after = await ground();
  assert(before !== after);
  await page.reload();
  assertEquals([await ground(), await page.textContent("#theme")], [after, "Light theme"]);
}

async function fitsAPhone(browser: TestBrowser, url: string): Promise<void> {
  const { page } = await browser.open(url, { viewport: { width: 360, height: 740 } });
  await page.$$eval("details", (all) => all.forEach((details) => (details as HTMLDetailsElement).open = true));
  assertEquals(await page.evaluate(() => document.documentElement.scrollWidth), 360);
  await page.close();
}

/** The edges of elements, in pixels of the window. */
const boxes = (page: Page, selector: string) =>
  page.$$eval(
    selector,
    (all) => all.map((of) => (({ left, right, top }) => ({ left, right, top }))(of.getBoundingClientRect())),
  );

async function answersFirst(browser: TestBrowser, url: string): Promise<void> {
  const { page } = await browser.open(url, { viewport: { width: 390, height: 844 } });
  const [text] = await boxes(page, "#claims tbody td:nth-child(2)");
  for (const column of [3, 4]) {
    const [cell] = await boxes(page, `#claims tbody td:nth-child(${column})`);
    assert(cell!.right <= 390 && cell!.top < text!.top, `column ${column} of the claims`);
  }
  const held = await boxes(page, "#servers tbody tr:first-child td");
  assert(held[0]!.right <= 390 && held[1]!.right <= 390, "what is held, and its memory");
  const shadows = await page.$eval("#servers", (of) => getComputedStyle(of.parentElement!).backgroundAttachment);
  assertEquals(shadows, "local, local, scroll, scroll");
  await page.setViewportSize({ width: 1280, height: 900 });
  const scroll = () => page.$eval("#servers", ({ parentElement: box }) => box!.scrollWidth - box!.clientWidth);
  assertEquals(await scroll(), 0);
  await page.check("#all-columns");
  assert(await scroll() > 0);
  await page.close();
}

/** A report with one of each thing that is in the whole one: axe looks at every element, which takes its time. */
function excerpt(contents: ReportContents): ReportContents {
  const names = ["epoll", "iocp", "c-epoll"];
  const isIn = (name: string) => names.includes(name);
  const lines = (text: string) => text.split("\n").filter((line) => /^(import|const|function|.*libc\.|.*#)/.test(line));
  const sources = [...contents.sources].map(([name, files]) => {
    const shortened = files.map((file) => ({ ...file, text: lines(file.text).slice(0, 40).join("\n") }));
    return [name, shortened] as const;
  });
  return {
    ...contents,
    shown: contents.shown.filter(({ experiment }) => isIn(experiment.name)),
    results: contents.results.filter(({ experiment }) => isIn(experiment)),
    comparisons: contents.comparisons.slice(0, 1),
    sources: new Map(sources),
  };
}

async function keepsNobodyOut(browser: TestBrowser, url: string, colorScheme: "light" | "dark"): Promise<void> {
  const { page } = await browser.open(url, { colorScheme });
  await page.keyboard.press("Tab");
  assertEquals(await page.evaluate(() => document.activeElement?.textContent), "Skip to the content");
  await page.$$eval("details", (all) => all.forEach((details) => (details as HTMLDetailsElement).open = true));
  assertEquals(await faults(page), []);
  await page.close();
}

/** Folded pages open by a link, and the contents mark where the reader is. */
async function unfolds({ page }: OpenPage): Promise<void> {
  const isOpen = () => page.$eval("#nginx > details", (details) => (details as HTMLDetailsElement).open);
  assertEquals(await isOpen(), false);
  await page.click('.contents a[href="#peers"]');
  await page.waitForSelector('.contents a[href="#peers"][aria-current]');
  await page.click('.contents a[href="#nginx"]');
  await page.waitForSelector('.contents a[href="#nginx"][aria-current]');
  assertEquals(await isOpen(), true);
  const marked = await page.$$eval(".contents [aria-current]", (all) => all.map((link) => link.textContent));
  assertEquals(marked, ["Peers", "nginx"]);
  await page.click("#nginx > details > summary");
  await page.click('.contents a[href="#nginx"]'); // the address stays the same
  await page.waitForSelector("#nginx > details[open]");
}

/** The same figures as those of two machines, the second with one run only. */
function twoMachines(contents: ReportContents, scripts: Scripts): Parameters<typeof renderReport> {
  return [contents, scripts, [{ ...contents, machine: "other", results: contents.results.slice(0, 1) }]];
}

async function choosesMachine(browser: TestBrowser, url: string): Promise<void> {
  const { page, errors } = await browser.open(url);
  const first = await dataOf(page);
  const sources = await page.textContent('[data-sources="epoll"]');
  assertMatch(sources!, /const EXPERIMENT = "epoll"/);
  await Promise.all([page.waitForURL(/machine=other$/), page.selectOption("#machine-choice", "other")]);
  await page.waitForSelector('#main[data-machine="other"]');
  assertEquals(await page.inputValue("#machine-choice"), "other");
  assertEquals([first.downloads.runs.length > 1, (await dataOf(page)).downloads.runs.length], [true, 1]);
  assertEquals(await page.textContent('[data-sources="epoll"]'), sources);
  assertEquals(await page.textContent("#found"), `3 of 3 servers`);
  assertEquals(errors, []);
  await page.close();
}

async function readsWithoutScript(browser: TestBrowser, url: string): Promise<void> {
  const { page } = await browser.open(url, { javaScriptEnabled: false });
  assertEquals(await page.isVisible("#filter"), false);
  assertEquals(await page.isVisible("canvas"), false);
  assertStringIncludes(await page.innerText("#servers"), "io-uring");
  await page.click("#chart-ladder summary");
  assert(await page.isVisible("#chart-ladder table"));
  await page.close();
}

Deno.test({
  name: "the report in a browser",
  ignore: !HAS_BROWSER,
  async fn(test) {
    const dir = await Deno.makeTempDir();
    const write = async (name: string, html: string) => {
      await Deno.writeTextFile(join(dir, name), html);
      return pathToFileURL(join(dir, name)).href;
    };
    try {
      const [contents, scripts] = await Promise.all([readContents(), bundleScripts()]);
      const url = await write("report.html", renderReport(contents, scripts));
      const pair = await write("pair.html", renderReport(...twoMachines(excerpt(contents), scripts)));
      const part = await write("excerpt.html", renderReport(excerpt(contents), scripts));
      await using browser = await startBrowser();
      const open = await browser.open(url, { colorScheme: "light" });
      await test.step("asks for nothing but its file, and has nothing to complain of", () => loads(open, url));
      await test.step("draws every chart with the values that it was given", () => draws(open));
      await test.step("filters the servers by text, family and whose they are, charts too", () => filters(open));
      await test.step("sorts by any column, by keyboard too, what is missing last", () => sorts(open));
      await test.step("gives all rows, and of servers those that are shown, as files", () => downloads(open));
      await test.step("remembers which theme was chosen", () => changesTheme(open));
      await test.step("unfolds what a link leads to, and marks in the contents what is read", () => unfolds(open));
      await test.step("shows the figures of the machine that is chosen", () => choosesMachine(browser, pair));
      await test.step("has still asked for nothing else", () =>
        loads({ ...open, requests: [...new Set(open.requests)] }, url));
      await test.step("never scrolls sideways on a phone", () => fitsAPhone(browser, url));
      await test.step("shows answers first where there is little room", () => answersFirst(browser, url));
      await test.step("keeps nobody out, in light", () => keepsNobodyOut(browser, part, "light"));
      await test.step("keeps nobody out, in dark", () => keepsNobodyOut(browser, part, "dark"));
      await test.step("can be read without a script", () => readsWithoutScript(browser, url));
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});
