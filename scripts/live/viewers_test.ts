import { assertEquals, assertStringIncludes } from "@std/assert";
import { type Hello, MAX_PAGES } from "./wire.ts";
import { QUEUE_EVENTS, Viewers } from "./viewers.ts";

const HELLO = { name: "epoll" } as Hello;
const WANTED = { connections: 1, rate_per_s: null };

async function all(stream: ReadableStream<Uint8Array>): Promise<string> {
  return await new Response(stream).text();
}

Deno.test("all who look get every event, the first one is the greeting", async () => {
  const viewers = new Viewers();
  const streams = [viewers.join(HELLO), viewers.join(HELLO)];
  viewers.send("wanted", WANTED);
  viewers.close();
  for (const stream of streams) {
    const text = await all(stream);
    assertEquals(text.match(/^event: \w+/gm), ["event: hello", "event: wanted"]);
    assertStringIncludes(text, `data: ${JSON.stringify(WANTED)}\n\n`);
  }
});

Deno.test("who does not read is let go, so that no queue grows; the others stay", async () => {
  const viewers = new Viewers();
  const lazy = viewers.join(HELLO);
  const eager = viewers.join(HELLO).getReader();
  for (let i = 0; i < 10 * QUEUE_EVENTS; i++) {
    viewers.send("wanted", WANTED);
    await eager.read();
  }
  assertEquals(viewers.size, 1);
  const events = (await all(lazy)).match(/^event: /gm)!.length;
  assertEquals(events <= QUEUE_EVENTS, true, `${events} events waited`);
  viewers.close();
});

Deno.test("there is room for so many pages, and again once one has left", async () => {
  const viewers = new Viewers();
  const streams = Array.from({ length: MAX_PAGES - 1 }, () => viewers.join(HELLO));
  assertEquals(viewers.isFull, false);
  const last = viewers.join(HELLO);
  assertEquals([viewers.isFull, viewers.size], [true, MAX_PAGES]);
  await last.cancel();
  assertEquals([viewers.isFull, streams.length], [false, viewers.size]);
  viewers.close();
});

Deno.test("nobody looks any more once the last one has left and none came back in time", async () => {
  const viewers = new Viewers(0);
  const first = viewers.join(HELLO);
  const second = viewers.join(HELLO);
  let isLeft = false;
  viewers.left.then(() => isLeft = true);
  await first.cancel();
  assertEquals([viewers.size, isLeft], [1, false]);
  await second.cancel();
  await viewers.left;
  assertEquals(viewers.size, 0);
});

Deno.test("a page that is loaded again within the grace was not closed", async () => {
  const viewers = new Viewers(60_000); // its timer would keep the test from ending, if it were not cleared
  await viewers.join(HELLO).cancel();
  const again = viewers.join(HELLO);
  assertEquals(viewers.size, 1);
  viewers.close();
  assertEquals((await all(again)).match(/^event: \w+/gm), ["event: hello"]);
});
