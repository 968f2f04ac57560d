import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { find } from "../../lib/catalogue/catalogue.ts";
import { processTree } from "../../lib/sampling/process.ts";
import { StartError } from "../../lib/server/server.ts";
import { PATIENCE_MS, within } from "../../lib/testing/client.ts";
import { serveChat } from "./chat.ts";

const ASSETS = { "/": { type: "text/html; charset=utf-8", body: "<!DOCTYPE html>" } };
const test = (name: string, fn: () => Promise<void>) => Deno.test({ name, ignore: Deno.build.os !== "linux", fn });

/** A chat that nobody has joined yet. */
async function chat(experiment = find("ws-epoll")) {
  const stop = new AbortController();
  const { port, ended } = await serveChat({ experiment, port: 0, assets: ASSETS, signal: stop.signal });
  return { url: `http://127.0.0.1:${port}`, ended, stop: () => stop.abort() };
}

test("a page is greeted with the address of the server, which it alone may connect to; when it goes all ends", async () => {
  const before = processTree(Deno.pid)!.length;
  const { url, ended } = await chat();
  const page = await fetch(url);
  await page.body?.cancel();
  const frames = await fetch(`${url}/frames`);
  let said = "";
  for await (const part of frames.body!.pipeThrough(new TextDecoderStream())) {
    said += part;
    if (said.includes('"open":0')) break; // which closes the stream, as a page that goes
  }
  const [, socket] = /"socket":"(ws:\/\/127\.0\.0\.1:\d+)"/.exec(said)!;
  assertStringIncludes(page.headers.get("content-security-policy")!, `connect-src 'self' ${socket};`);
  assertEquals((await within(ended, PATIENCE_MS, "the end")).how, "closed");
  assertEquals(processTree(Deno.pid)!.length, before, "nothing is left running");
});

test("there is no load to change, and another page may not look", async () => {
  const { url, ended, stop } = await chat();
  for (
    const [path, init, status] of [
      ["/wanted", { method: "POST", headers: { Origin: url }, body: "{}" }, 405],
      ["/wanted", {}, 404],
      ["/frames", { headers: { Origin: "http://evil.example" } }, 403],
    ] as const
  ) {
    const response = await fetch(url + path, init);
    await response.body?.cancel();
    assertEquals(response.status, status, path);
  }
  stop();
  assertEquals((await ended).how, "stopped");
});

test("a server that cannot start, or a port that is taken, leaves nothing behind", async () => {
  const before = processTree(Deno.pid)!.length;
  const dir = await Deno.makeTempDir();
  try {
    const path = `${dir}/ws-epoll.ts`;
    await Deno.writeTextFile(path, 'console.error("There is no such library."); Deno.exit(69);');
    await assertRejects(() => chat({ ...find("ws-epoll"), path }), StartError, "There is no such library.");
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = taken.addr;
    const { signal } = new AbortController();
    const serving = () => serveChat({ experiment: find("ws-epoll"), port, assets: ASSETS, signal });
    await assertRejects(serving, Deno.errors.AddrInUse);
    assert(processTree(Deno.pid)!.length <= before);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
