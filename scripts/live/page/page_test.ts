import { assert, assertEquals } from "@std/assert";
import type { Page } from "playwright-core";
import { type Experiment, find } from "../../../lib/catalogue/catalogue.ts";
import { liveAssets } from "../assets.ts";
import { serveLive } from "../server.ts";
import { processTree } from "../../../lib/sampling/process.ts";
import { faults, HAS_BROWSER, startBrowser } from "../../../lib/testing/browser.ts";
import { PATIENCE_MS, within } from "../../../lib/testing/client.ts";

const ALL_WELL = "nothing weakens the figures";
const assets = HAS_BROWSER ? await liveAssets() : {};
const test = (name: string, fn: () => Promise<void>) => Deno.test({ name, ignore: !HAS_BROWSER, fn });

/** A run with few connections. */
function live(...experiments: Experiment[]) {
  const stop = new AbortController();
  const limits = { connections: 500, rate_per_s: 10_000 };
  const wanted = { connections: 10, rate_per_s: null };
  const { port, ended: end } = serveLive({
    experiments: experiments.length > 0 ? experiments : [find("epoll")],
    wanted,
    limits,
    port: 0,
    assets,
    signal: stop.signal,
  });
  const ended = () => within(end, 3 * PATIENCE_MS, "the end of the run");
  return { url: `http://127.0.0.1:${port}/`, ended, stop: () => stop.abort() };
}

/** Waits until the number of a tile is what is expected. */
const shows = (page: Page, label: string, pattern: string) =>
  page.locator(".tile", { hasText: label }).locator(".number").filter({ hasText: new RegExp(`^${pattern}$`) })
    .waitFor();

test("numbers and charts follow the run, the keyboard steers it, and closing the page ends it", async () => {
  const before = processTree(Deno.pid)!;
  const { url, ended } = live();
  {
    await using browser = await startBrowser();
    const { page, errors, requests } = await browser.open(url);
    await shows(page, "Connections", "10");
    assertEquals(await page.locator("canvas[aria-label*=' from ']").count(), 8);
    assertEquals(await page.locator(".who:visible").count(), 0, "of one server no number needs a name");
    const rate = page.locator(".tile", { hasText: "Requests/s" }).locator(".number");
    await rate.filter({ hasNotText: (await rate.textContent())! }).waitFor(); // the next second has another number

    const slider = page.getByRole("slider", { name: "Connections" });
    await slider.focus();
    await page.keyboard.press("ArrowRight");
    assertEquals(await slider.getAttribute("aria-valuetext"), "15 connections");
    await shows(page, "Connections", "15");
    await page.getByRole("switch", { name: "As fast as it answers" }).press("Space");
    await page.getByRole("spinbutton", { name: "Requests/s" }).fill("50");
    await page.keyboard.press("Enter");
    await shows(page, "Requests/s", "[45]\\d"); // in the last second, so about 50
    const load = /^epoll: p99 \S+ [mµ]?s at \d\d requests\/s, p99 \S+ [mµ]?s at [\d ]+ requests\/s$/;
    await page.getByRole("img", { name: load }).waitFor(); // the closed loop before it was faster
    await page.getByRole("spinbutton", { name: "Connections" }).fill("501");
    await page.keyboard.press("Enter");
    await page.getByText("connections is not a whole number from 1 to 500").waitFor();

    assertEquals(errors.filter((text) => !text.includes("400 (Bad Request)")), []);
    assert(requests.every((address) => address.startsWith(url) || address.startsWith("data:")), requests.join(" "));
  }
  assertEquals((await ended()).how, "closed");
  assertEquals(processTree(Deno.pid)!.length, before.length, "neither server nor load nor browser is left");
});

test("a server that does not start is named as what it is, and nobody says that all is well", async () => {
  const dir = await Deno.makeTempDir();
  const path = `${dir}/deno-serve.ts`;
  await using browser = await startBrowser();
  try {
    for (
      const [source, status, sentence] of [
        [
          'console.error("There is no such library."); Deno.exit(69);',
          "It cannot run here",
          "There is no such library.",
        ],
        [
          'console.log("Hello"); setInterval(() => {}, 1000);',
          "The server did not get ready",
          "not the ready line: Hello",
        ],
        ['console.error("Oh."); Deno.exit(1);', "The server failed", "Ended with exit code 1 before it was ready: Oh."],
      ] as const
    ) {
      await Deno.writeTextFile(path, source);
      const { url, ended } = live({ ...find("deno-serve"), path });
      const { page } = await browser.open(url);
      await page.getByText(sentence).waitFor();
      assertEquals(await page.getByRole("status").textContent(), status);
      assertEquals(await page.getByText(ALL_WELL).isVisible(), false);
      await ended();
    }
    await Deno.writeTextFile(path, "setInterval(() => {}, 1000);"); // it never says anything
    const { url, ended, stop } = live({ ...find("deno-serve"), path });
    const { page } = await browser.open(url);
    await page.getByText("Starting deno-serve…").waitFor();
    assertEquals(await page.getByText(ALL_WELL).isVisible(), false);
    stop();
    await ended();
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

test("two servers stand side by side: numbers, lines and distributions of both, steered together", async () => {
  const { url, ended, stop } = live(find("epoll"), find("deno-serve"));
  {
    await using browser = await startBrowser();
    const { page, errors } = await browser.open(url, { viewport: { width: 1440, height: 900 } });
    const connections = page.locator(".tile", { hasText: "Connections" });
    const numbers = (text: string) => connections.locator(".number", { hasText: new RegExp(`^${text}$`) });
    await numbers("10").nth(1).waitFor();
    assertEquals(await connections.locator(".who").allTextContents(), ["epoll", "deno-serve"]);
    await page.getByText("Both have the same load, in turns").waitFor();
    await connections.getByText("server counts 10").waitFor();
    await page.getByRole("slider", { name: "Connections" }).press("ArrowRight");
    await numbers("15").nth(1).waitFor();

    const rows = page.locator("#distribution tbody tr").filter({ hasText: /^1 in 10\d.*[µm]s.*[µm]s$/ });
    await rows.first().waitFor();
    const heard = await page.getByRole("img", { name: /epoll: 1 in 2 over .* deno-serve: 1 in 2 over/ }).count();
    assertEquals(heard, 1, "the curves are described in words, too");
    await page.getByRole("img", { name: /^epoll: p99 .* requests\/s\. deno-serve: p99 .* requests\/s$/ }).waitFor();
    assertEquals(await page.locator("#load .of-server:visible").allTextContents(), ["epoll", "deno-serve"]);
    assertEquals(await faults(page), []);
    await page.emulateMedia({ colorScheme: "dark" });
    await page.setViewportSize({ width: 390, height: 844 });
    assertEquals(await faults(page), []);
    assertEquals(await page.evaluate("document.documentElement.scrollWidth"), 390, "nothing is wider than a phone");
    assertEquals(errors, []);
  }
  stop();
  await ended();
});

test("where one of two servers dies the page says which, in one sentence", async () => {
  const dir = await Deno.makeTempDir();
  const path = `${dir}/deno-serve.ts`;
  await Deno.writeTextFile(
    path,
    `const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
       if (++served === 30) { console.error("the last words"); Deno.exit(3); }
       return new Response("Hello World");
     });
     let served = 0;
     console.log(JSON.stringify({ event: "ready", experiment: "fake", port: server.addr.port, pid: Deno.pid }));`,
  );
  try {
    await using browser = await startBrowser();
    const { url, ended } = live(find("epoll"), { ...find("deno-serve"), path });
    const { page } = await browser.open(url);
    const sentence = "deno-serve: the server ended during the run with exit code 3: the last words";
    await page.getByText(sentence).waitFor();
    assertEquals(await page.getByRole("status").textContent(), "The server failed");
    assertEquals((await ended()).sentence, sentence);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

test("a page that another one replaces says so, and steers nothing any more", async () => {
  const { url, ended, stop } = live();
  {
    await using browser = await startBrowser();
    const { page: first } = await browser.open(url);
    await first.getByRole("status").filter({ hasText: "Running" }).waitFor();
    const { page: second } = await browser.open(url);
    await first.getByText("Another page shows this run.").waitFor();
    assertEquals(await first.getByRole("status").textContent(), "Shown elsewhere");
    assertEquals(await first.getByRole("slider").first().isDisabled(), true);
    await second.getByRole("status").filter({ hasText: "Running" }).waitFor();
  }
  stop();
  await ended();
});

test("axe finds no serious fault, in light and dark, wide and narrow; an end is shown, and the controls rest", async () => {
  const { url, ended, stop } = live();
  {
    await using browser = await startBrowser();
    const { page, errors } = await browser.open(url);
    await shows(page, "Connections", "10");
    await page.getByText("What to know of these figures").waitFor();
    assertEquals(await faults(page), []);
    await page.emulateMedia({ colorScheme: "dark" });
    await page.setViewportSize({ width: 390, height: 844 });
    assertEquals(await faults(page), []);
    assertEquals(await page.evaluate("document.documentElement.scrollWidth"), 390, "nothing is wider than a phone");
    stop();
    await page.getByText("Stopped.").waitFor();
    assertEquals(await page.getByText(ALL_WELL).isVisible(), false);
    assertEquals(await page.getByRole("slider", { name: "Connections" }).isDisabled(), true);
    assertEquals(errors, []);
  }
  assertEquals((await ended()).how, "stopped");
});
