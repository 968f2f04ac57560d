import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Events, Hello } from "./wire.ts";
import { QUEUE_EVENTS, Viewer } from "./viewer.ts";

const HELLO = { servers: [{ name: "epoll" }] } as Hello;
const ROUND = [{ elapsed_s: 1 }] as Events["round"];

const all = (stream: ReadableStream<Uint8Array>): Promise<string> => new Response(stream).text();
const names = (text: string) => text.match(/^event: \w+/gm);

Deno.test("a page gets every event, and the first one is the greeting", async () => {
  const viewer = new Viewer();
  const stream = viewer.join(HELLO);
  viewer.send("round", ROUND);
  viewer.close();
  const text = await all(stream);
  assertEquals(names(text), ["event: hello", "event: round"]);
  assertStringIncludes(text, `data: ${JSON.stringify(ROUND)}\n\n`);
});

Deno.test("the page that was opened last shows the run, and the one before it learns that", async () => {
  const viewer = new Viewer();
  const [first, second] = [viewer.join(HELLO), viewer.join(HELLO)];
  viewer.send("round", ROUND);
  viewer.close();
  assertEquals(names(await all(first)), ["event: hello", "event: replaced"]);
  assertEquals(names(await all(second)), ["event: hello", "event: round"]);
});

Deno.test("a page that does not read is let go, so that its queue does not grow", async () => {
  const viewer = new Viewer({ graceMs: 0 });
  const lazy = viewer.join(HELLO);
  for (let i = 0; i < 10 * QUEUE_EVENTS; i++) viewer.send("round", ROUND);
  await viewer.left;
  const events = names(await all(lazy))!.length;
  assert(events <= QUEUE_EVENTS, `${events} events waited`);
});

Deno.test("a page that is closed has left once none came in time", async () => {
  const viewer = new Viewer({ graceMs: 0 });
  await viewer.join(HELLO).cancel();
  await viewer.left;
});

Deno.test("a page that was replaced has not left when it is closed", async () => {
  const viewer = new Viewer({ graceMs: 0 });
  const [first, second] = [viewer.join(HELLO), viewer.join(HELLO)];
  let hasLeft = false;
  viewer.left.then(() => hasLeft = true);
  await first.cancel();
  viewer.send("round", ROUND);
  viewer.close();
  assertEquals([names(await all(second)), hasLeft], [["event: hello", "event: round"], false]);
});

Deno.test("a page that is loaded again within the grace was not closed", async () => {
  const viewer = new Viewer({ graceMs: 60_000 }); // its timer would keep the test from ending, if it were not cleared
  await viewer.join(HELLO).cancel();
  const again = viewer.join(HELLO);
  viewer.close();
  assertEquals(names(await all(again)), ["event: hello"]);
});

Deno.test("where several pages may look, all get every event; the oldest goes for one too many, and the last one ends it", async () => {
  const viewer = new Viewer({ graceMs: 0, most: 2 });
  const [first, second] = [viewer.join(HELLO), viewer.join(HELLO)];
  viewer.send("round", ROUND);
  const third = viewer.join(HELLO);
  viewer.send("round", ROUND);
  assertEquals(names(await all(first)), ["event: hello", "event: round", "event: replaced"]);
  let hasLeft = false;
  viewer.left.then(() => hasLeft = true);
  await second.cancel();
  assertEquals(hasLeft, false);
  await third.cancel();
  await viewer.left;
});
