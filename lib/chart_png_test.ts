import { assert, assertEquals } from "@std/assert";
import { loadImage } from "@napi-rs/canvas";
import type { RankSpec } from "./chart.ts";
import { heightOf } from "./chart.ts";
import { renderPng } from "./chart_png.ts";

const item = { name: "epoll", family: "readiness", value: 3 };
const spec: RankSpec = {
  kind: "bars",
  title: "Requests",
  axis: { label: "requests/s", unit: "per_s", scale: "linear" },
  items: [item],
};
const png = async (change: Partial<RankSpec>, theme: "light" | "dark" = "light") =>
  new Uint8Array(await renderPng({ ...spec, ...change }, { width: 300, theme }));
const differs = (a: Uint8Array, b: Uint8Array) => a.length !== b.length || a.some((byte, i) => byte !== b[i]);

Deno.test("a picture has twice the pixels of its layout, and a row more for a server more", async () => {
  const image = await loadImage(await png({}));
  assertEquals([image.width, image.height], [600, heightOf(spec) * 2]);
  assert(heightOf({ ...spec, items: [item, item] }) > heightOf(spec));
});

Deno.test("the same chart gives the same picture, and every part of it is drawn: text, value, interval, bound, theme", async () => {
  const plain = await png({});
  assert(!differs(plain, await png({})));
  const changes: Partial<RankSpec>[] = [
    { title: "Requestz" }, // without a font no text would be drawn, and no error be thrown
    { items: [{ ...item, name: "epool" }] },
    { items: [{ ...item, value: 2 }] },
    { items: [{ ...item, low: 2, high: 4 }] },
    { items: [{ ...item, bound: "at least" }] },
    { items: [{ ...item, family: "completion" }] },
    { items: [{ ...item, value: null, note: "skipped" }] },
    { reference: 1 },
    { kind: "dots" },
  ];
  for (const change of changes) assert(differs(plain, await png(change)), JSON.stringify(change));
  assert(differs(plain, await png({}, "dark")));
});
