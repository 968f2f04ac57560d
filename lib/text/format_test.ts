import { assertEquals } from "@std/assert";
import { bytes, count, counted, microseconds, MISSING, unbroken } from "./format.ts";
import { markdown, table } from "./table.ts";

Deno.test("a count is grouped by three, and what is missing is never shown as zero", () => {
  assertEquals(count(10000), "10 000");
  assertEquals(count(1234567.891, 2), "1 234 567.89");
  assertEquals(count(999), "999");
  assertEquals(count(0), "0");
  assertEquals([count(-7.7, 1), count(-12345), count(-0.001, 2), count(-0)], ["−7.7", "−12 345", "0.00", "0"]);
  for (const missing of [null, undefined, NaN, Infinity]) assertEquals(count(missing), MISSING);
});

Deno.test("one of a thing has no plural", () => {
  const rounds = [1, 0, 1000].map((value) => counted(value, "round"));
  assertEquals(rounds, ["1 round", "0 rounds", "1 000 rounds"]);
  assertEquals(counted(1, "delivery", "deliveries"), "1 delivery");
  assertEquals(counted(2, "delivery", "deliveries"), "2 deliveries");
});

Deno.test("bytes are shown in binary units", () => {
  assertEquals(bytes(37), "37 B");
  assertEquals(bytes(7.4 * 2 ** 20), "7.4 MiB");
  assertEquals([bytes(1000), bytes(-634 * 1024), bytes(-0.3)], ["1 000 B", "−634 KiB", "0 B"]);
  assertEquals(bytes(null), MISSING);
});

Deno.test("microseconds change their unit where it reads better", () => {
  assertEquals(microseconds(340.4), "340 µs");
  assertEquals(microseconds(12_500), "12.5 ms");
  assertEquals(microseconds(1_984_000), "1.98 s");
  assertEquals(microseconds(null), MISSING);
});

Deno.test("no line break divides a figure in a page, and words may still be divided", () => {
  const whole = [
    "1 008 000",
    "× 2 013",
    "≤ 2.05 KiB",
    "6.4 CPU-µs",
    "12.5 ms",
    "98 %",
    "16 B",
    "8 MB",
    "340 µs",
    "2 s",
  ];
  for (const figure of whole) assertEquals(unbroken(`a ${figure} b`), `a ${figure.replaceAll(" ", "\u00a0")} b`);
  for (const words of ["in 2 servers", "100 connections", "10 to 20", "a × b", "3 Bytes"]) {
    assertEquals(unbroken(words), words);
  }
});

const columns = [
  { heading: "name", cell: (row: { name: string; held: number }) => row.name, left: true },
  { heading: "connections\nheld", cell: (row: { name: string; held: number }) => count(row.held) },
];

Deno.test("a table aligns text left and numbers right, with headings of several lines", () => {
  assertEquals(
    table([{ name: "epoll", held: 10000 }, { name: "blocking|one", held: 1 }], columns),
    [
      "              connections",
      "name                 held",
      "------------  -----------",
      "epoll              10 000",
      "blocking|one            1",
    ].join("\n"),
  );
});

Deno.test("a Markdown table escapes the bar", () => {
  assertEquals(
    markdown([{ name: "a|b", held: 1 }], columns),
    "| name | connections held |\n| :-- | --: |\n| a\\|b | 1 |",
  );
});
