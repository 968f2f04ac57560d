import { assert, assertEquals } from "@std/assert";
import { createCanvas, loadImage } from "@napi-rs/canvas";
import type { LinesSpec, RankSpec } from "./config.ts";
import { FAMILY } from "./theme.ts";
import { heightOf } from "./config.ts";
import { renderPng } from "./png.ts";

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

const point = { x: 10, value: 3 };
const line = { name: "epoll", family: "readiness", points: [point, { x: 100, value: 5 }] };
const lines: LinesSpec = {
  kind: "lines",
  title: "Waits",
  x: { label: "descriptors", unit: "descriptors", scale: "log" },
  y: { label: "CPU", unit: "us", scale: "linear" },
  series: [line],
};

Deno.test("every part of a chart of lines is drawn: lines, marks, intervals, bounds, names, why there is none", async () => {
  const draw = async (...series: LinesSpec["series"]) =>
    new Uint8Array(await renderPng({ ...lines, series }, { width: 300 }));
  const of = (change: Partial<typeof point> & Partial<LinesSpec["series"][number]["points"][number]>) =>
    draw({ ...line, points: [{ ...point, ...change }, line.points[1]!] });
  const bound = { bound: "at most" as const };
  const plain = await draw(line);
  const other = { ...line, name: "poll" };
  const none = { name: "kqueue", family: "readiness", points: [], note: "skipped" };
  const pictures = {
    lines: [plain, await draw({ ...line, points: [point, { x: 30, value: null }, line.points[1]!] })],
    interval: [await of({ low: 3.5, high: 4 }), await of({ low: 3, high: 4 })],
    bound: [await of(bound), await draw({ ...line, points: [point, { ...line.points[1]!, ...bound }] })],
    name: [plain, await draw({ ...line, name: "epool" })],
    family: [plain, await draw({ ...line, family: "completion" })],
    "name beside another": [await draw(line, other), await draw(other, line)],
    "why none": [await draw(line, none), await draw(line, { ...none, note: "skippet" })],
    "that there is one without": [plain, await draw(line, none)],
  };
  for (const [part, [one, another]] of Object.entries(pictures)) assert(differs(one!, another!), part);
});

/** How far to the right a colour goes, in pixels of the picture; -1: it is nowhere. */
async function rightmost(picture: Uint8Array, colour: string): Promise<number> {
  const image = await loadImage(picture);
  const context = createCanvas(image.width, image.height).getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  const wanted = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  let right = -1;
  for (let at = 0; at < data.length; at += 4) {
    const isIt = wanted.every((part, i) => Math.abs(part - data[at + i]!) < 24); // a thin line is a little paler
    if (isIt) right = Math.max(right, at / 4 % image.width);
  }
  return right;
}

Deno.test("a line's name stands at its end in its colour, and where that place is taken a line leads to it", async () => {
  const blue = FAMILY["readiness"]!.light;
  const orange = FAMILY["blocking"]!.light;
  const right = async (colour: string, ...series: LinesSpec["series"]) =>
    await rightmost(await renderPng({ ...lines, series }, { width: 300 }), colour);
  const unnamed = { ...line, name: " ".repeat(line.name.length) }; // with as much room
  const other = { ...unnamed, family: "blocking" };
  assert(await right(blue, line) > await right(blue, unnamed) + 40);
  assert(await right(orange, line, other) > await right(orange, other) + 8);
});

Deno.test("a rank chart says below which colour is which family", async () => {
  assert(await rightmost(await png({ items: [{ ...item, value: null }] }), FAMILY["readiness"]!.light) > 0);
});
