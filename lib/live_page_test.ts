import { assert, assertEquals } from "@std/assert";
import type { Page } from "playwright-core";
import { find } from "./catalogue.ts";
import { liveAssets } from "./live_assets.ts";
import { serveLive } from "./live_server.ts";
import { processTree } from "./proc.ts";
import { faults, HAS_BROWSER, startBrowser } from "./testing/browser.ts";
import { PATIENCE_MS, within } from "./testing/client.ts";

const assets = HAS_BROWSER ? await liveAssets() : {};
const test = (name: string, fn: () => Promise<void>) => Deno.test({ name, ignore: !HAS_BROWSER, fn });

/** A run of epoll with few connections. */
function live() {
  const stop = new AbortController(), limits = { connections: 500, rate_per_s: 10_000 };
  const wanted = { connections: 10, ratePerS: null };
  const { port, ended: end } = serveLive({
    experiment: find("epoll"),
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
  const before = processTree(Deno.pid)!, { url, ended } = live();
  {
    await using browser = await startBrowser();
    const { page, errors, requests } = await browser.open(url);
    await shows(page, "Connections", "10");
    assertEquals(await page.locator("canvas[aria-label*=' from ']").count(), 8);
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
    await page.getByRole("spinbutton", { name: "Connections" }).fill("501");
    await page.keyboard.press("Enter");
    await page.getByText("connections is not a whole number from 1 to 500").waitFor();

    assertEquals(errors.filter((text) => !text.includes("400 (Bad Request)")), []);
    assert(requests.every((address) => address.startsWith(url) || address.startsWith("data:")), requests.join(" "));
  }
  assertEquals((await ended()).by, "page");
  assertEquals(processTree(Deno.pid)!.length, before.length, "neither server nor load nor browser is left");
});

test("axe finds no serious fault, in light and dark, wide and narrow; an end is told, and the controls rest", async () => {
  const { url, ended, stop } = live();
  {
    await using browser = await startBrowser();
    const { page, errors } = await browser.open(url);
    await shows(page, "Connections", "10");
    assertEquals(await faults(page), []);
    await page.emulateMedia({ colorScheme: "dark" });
    await page.setViewportSize({ width: 390, height: 844 });
    assertEquals(await faults(page), []);
    assertEquals(await page.evaluate("document.documentElement.scrollWidth"), 390, "nothing is wider than a phone");
    stop();
    await page.getByText("Stopped.").waitFor();
    assertEquals(await page.getByRole("slider", { name: "Connections" }).isDisabled(), true);
    assertEquals(errors, []);
  }
  assertEquals((await ended()).by, "signal");
});
