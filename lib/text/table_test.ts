import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type Column, markdown, table, wrap } from "./table.ts";

interface Row {
  name: string;
  size: number;
  note: string;
}
const ROWS: Row[] = [{ name: "epoll", size: 10, note: "" }, { name: "select", size: 10_000, note: "a note of words" }];
const NAME: Column<Row> = { heading: "name", cell: ({ name }) => name, left: true };
const SIZE: Column<Row> = { heading: "size", cell: ({ size }) => String(size), isKey: true };
const figure = (heading: string): Column<Row> => ({ heading, cell: ({ size }) => String(size * 1e6) });
const NOTE: Column<Row> = { heading: "note", cell: ({ note }) => note, left: true };

Deno.test("a table that fits stands in one block", () => {
  assertEquals(
    table(ROWS, [NAME, SIZE]),
    ["name     size", "------  -----", "epoll      10", "select  10000"].join("\n"),
  );
});

Deno.test("columns that do not fit follow in further blocks, each behind the columns that name a row", () => {
  const text = table(ROWS, [NAME, SIZE, figure("a"), figure("b"), figure("c")], 40);
  assertEquals(text.split("\n\n").map((block) => block.split("\n")[0]), [
    "name     size            a            b",
    "name     size            c",
  ]);
  assertEquals(text.split("\n").filter((line) => line.startsWith("select")).length, 2);
  assert(text.split("\n").every((line) => line.length <= 40), text);
});

Deno.test("a long text is wrapped within its column", () => {
  const rows = [{ name: "epoll", size: 1, note: "word ".repeat(20).trim() }];
  const lines = table(rows, [NAME, SIZE, NOTE], 60).split("\n");
  assert(lines.length > 3 && lines.every((line) => line.length <= 60), lines.join("\n"));
  assertEquals(lines.join(" ").match(/word/g)!.length, 20);
});

Deno.test("a table of long texts becomes a paragraph for each row, without what is empty", () => {
  const rows = [{ name: "memory", size: 1, note: "y".repeat(50) }, { name: "kernel", size: 2, note: "" }];
  const texts: Column<Row>[] = [NAME, { ...NOTE, heading: "caps" }, { ...NOTE, heading: "to raise it" }];
  const y = "y".repeat(50);
  assertEquals(table(rows, texts, 80), `memory\n  caps: ${y}\n  to raise it: ${y}\nkernel`);
});

Deno.test("no line ends within a number, nor between a number and its sign or unit", () => {
  const whole = [
    "1 008 000",
    "20 000",
    "≥ 8 000",
    "× 0.93",
    "340 µs",
    "1.5 MiB",
    "2 %",
    "≤ 2.05 KiB",
    "~ 1.100",
    "98 %",
  ];
  const text = whole.map((number) => `limit ${number} for a process`).join(", ");
  for (let width = 20; width < 60; width++) {
    const lines = wrap(text, width);
    assertEquals(lines.join(" "), text);
    for (const number of whole) assert(lines.some((line) => line.includes(number)), `${number} at ${width}: ${lines}`);
    assert(lines.every((line) => line.length <= width), lines.join("\n"));
  }
  assertEquals(wrap("in 2024 100 of them", 8), ["in 2024", "100 of", "them"]); // two numbers
});

Deno.test("where a heading stands in one line its words are whole, in Markdown as in a paragraph", () => {
  const parted = ["connec-\ntions", "CPU-µs\n/request", "valid\nrounds"].map(figure);
  assertEquals(markdown([], parted).split("\n")[0], "| connections | CPU-µs/request | valid rounds |");
  const rows = [{ name: "memory", size: 1, note: "y".repeat(50) }];
  assertStringIncludes(table(rows, [NAME, parted[0]!, NOTE, { ...NOTE, heading: "why" }]), "  connections: 1000000\n");
});
