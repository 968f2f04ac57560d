import { assertEquals, assertMatch } from "@std/assert";
import type { Page } from "playwright-core";
import { find } from "../../../lib/catalogue/catalogue.ts";
import { obstacleTo } from "../../../lib/catalogue/tools.ts";
import { processTree, unlessGone } from "../../../lib/sampling/process.ts";
import { readProc } from "../../../lib/sampling/procfs.ts";
import { faults, HAS_BROWSER, startBrowser } from "../../../lib/testing/browser.ts";
import { PATIENCE_MS, within } from "../../../lib/testing/client.ts";
import { chatAssets } from "../assets.ts";
import { serveChat } from "../chat.ts";

const SERVERS = ["ws-epoll", "ws-deno", "ws-io-uring", "ws-threads", "ws-multi-reactor"];
const assets = HAS_BROWSER ? await chatAssets() : {};
const runnable = [];
for (const name of SERVERS) if (await obstacleTo(find(name)) === null) runnable.push(name);

/** A chat that nobody has joined yet. */
async function chat(experiment = find("ws-epoll")) {
  const stop = new AbortController();
  const { port, ended: end } = await serveChat({ experiment, port: 0, assets, signal: stop.signal });
  const ended = () => within(end, 3 * PATIENCE_MS, "the end of the chat");
  return { url: `http://127.0.0.1:${port}/`, ended, stop: () => stop.abort() };
}

const status = (page: Page, text: string | RegExp) => page.getByRole("status").filter({ hasText: text }).waitFor();

async function say(page: Page, text: string, name = ""): Promise<void> {
  await page.getByRole("textbox", { name: "Name" }).fill(name);
  await page.getByRole("textbox", { name: "Message" }).fill(text);
  await page.keyboard.press("Enter");
}

/** Waits for a message on a page, and returns who said it and how long it took. */
async function hears(page: Page, text: string): Promise<{ from: string; after: string }> {
  const item = page.getByRole("log").locator(".message").filter({ hasText: text });
  await item.waitFor();
  assertEquals(await item.locator(".said").textContent(), text);
  const [from, after] = await Promise.all([".from", ".after"].map((part) => item.locator(part).textContent()));
  return { from: from!, after: after! };
}

/** Whether a process is the server of a name. */
const isServer = (pid: number, name: string) =>
  unlessGone(() => readProc(`/proc/${pid}/cmdline`))?.includes(`${name}.ts`) ?? false;

const listeners = (page: Page, count: number) =>
  page.locator("#listeners").filter({ hasText: new RegExp(`^${count}$`) }).waitFor();

for (const name of runnable) {
  Deno.test({
    name: `${name}: what one page sends both show, in any script; a page that leaves is counted no more`,
    ignore: !HAS_BROWSER,
    fn: async () => {
      const before = processTree(Deno.pid)!.length;
      const { url, ended } = await chat(find(name));
      {
        await using browser = await startBrowser();
        const [{ page: ada, errors, requests }, { page: other }] = [await browser.open(url), await browser.open(url)];
        await Promise.all([status(ada, "Connected"), status(other, "Connected"), listeners(ada, 2)]);

        await say(ada, "안녕하세요, 세상! مرحبا بالعالم 👩‍👩‍👧 <b>&amp;</b>", "아다");
        for (const [page, from] of [[ada, "아다 (you)"], [other, "아다"]] as const) {
          const heard = await hears(page, "안녕하세요, 세상! مرحبا بالعالم 👩‍👩‍👧 <b>&amp;</b>");
          assertEquals(heard.from, from);
          assertMatch(heard.after, /^(\d+\.\d ms|–)$/);
        }
        assertMatch((await ada.locator("#delivery").textContent())!, /^\d+\.\d ms$/, "its own way has one clock");
        await say(other, "Hello back");
        assertEquals((await hears(ada, "Hello back")).from, "Somebody");
        assertEquals((await hears(other, "Hello back")).from, "You");

        await other.close();
        await listeners(ada, 1);
        await say(ada, "Is anybody there?");
        await hears(ada, "Is anybody there?");
        assertEquals(await ada.locator("#count").textContent(), "3");
        assertEquals(errors, []);
        const isOwn = (address: string) => address.startsWith(url) || address.startsWith("data:");
        assertEquals(requests.filter((address) => !isOwn(address)), []);
      }
      assertEquals((await ended()).how, "closed");
      assertEquals(processTree(Deno.pid)!.length, before, "neither server nor browser is left");
    },
  });
}

Deno.test({
  name: "axe finds no serious fault in the chat, in light and dark, wide and narrow; and an end is said",
  ignore: !HAS_BROWSER,
  fn: async () => {
    const { url, ended, stop } = await chat();
    {
      await using browser = await startBrowser();
      const { page, errors } = await browser.open(url);
      await status(page, "Connected");
      await say(page, "A message");
      await hears(page, "A message");
      assertEquals(await faults(page), []);
      await page.emulateMedia({ colorScheme: "dark" });
      await page.setViewportSize({ width: 390, height: 844 });
      assertEquals(await faults(page), []);
      assertEquals(await page.evaluate("document.documentElement.scrollWidth"), 390, "nothing is wider than a phone");
      stop();
      await page.getByText("Stopped.").waitFor();
      assertEquals(await page.getByRole("button", { name: "Send" }).isDisabled(), true);
      assertEquals(errors, []);
    }
    assertEquals((await ended()).how, "stopped");
  },
});

Deno.test({
  name: "a server that dies under a chat is said on the page",
  ignore: !HAS_BROWSER,
  fn: async () => {
    const { url, ended } = await chat();
    await using browser = await startBrowser();
    const { page } = await browser.open(url);
    await listeners(page, 1);
    const [pid] = processTree(Deno.pid)!.filter((pid) => isServer(pid, "ws-epoll"));
    Deno.kill(pid!, "SIGKILL");
    await page.getByText("ws-epoll: the server ended during the run by SIGKILL").waitFor();
    assertEquals(await page.getByRole("status").textContent(), "The server failed");
    assertEquals((await ended()).how, "crashed");
  },
});

Deno.test({
  name: "a page whose connection the server has ended says so, with the code, and connects again when it is asked to",
  ignore: !HAS_BROWSER,
  fn: async () => {
    const dir = await Deno.makeTempDir();
    try {
      const path = `${dir}/ws-deno.ts`;
      await Deno.writeTextFile(
        path,
        `let connected = 0;
         const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
           const { socket, response } = Deno.upgradeWebSocket(request);
           const isFirst = ++connected === 1;
           socket.onopen = () => isFirst && socket.close(1013, "try later");
           socket.onmessage = ({ data }) => socket.send(data);
           return response;
         });
         console.log(JSON.stringify({ event: "ready", experiment: "fake", port: server.addr.port, pid: Deno.pid }));`,
      );
      const { url, ended, stop } = await chat({ ...find("ws-deno"), path, cannot: { "show-stats": "It is a fake." } });
      {
        await using browser = await startBrowser();
        const { page } = await browser.open(url);
        await status(page, "The server has ended the connection: 1013, try later");
        await page.getByRole("button", { name: "Connect again" }).click();
        await status(page, "Connected");
        await say(page, "Here again");
        await hears(page, "Here again");
        assertEquals(await page.locator("#listeners").textContent(), "–", "nobody says how many listen");
        assertEquals(await page.getByRole("button", { name: "Connect again" }).isVisible(), false);
        stop();
        await status(page, "Ended");
      }
      await ended();
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});
