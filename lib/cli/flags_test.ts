import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "./errors.ts";
import { asksForHelp, numberFlag, numberList, parseFlags, wrapUsage } from "./flags.ts";

Deno.test("flags are parsed by kind, and words that belong to none are kept in order as text", () => {
  const flags = parseFlags(["epoll", "--quick", "--rate", "10", "12"], {
    boolean: ["quick", "json"],
    string: ["rate"],
  });
  assertEquals(flags.quick, true);
  assertEquals(flags.json, false);
  assertEquals(flags.rate, "10");
  assertEquals(flags._, ["epoll", "12"]);
});

Deno.test("an unknown flag is a usage error that names it", () => {
  assertThrows(() => parseFlags(["--conections", "10"], { string: ["connections"] }), UsageError, "--conections");
  assertThrows(() => parseFlags(["-x"], { boolean: ["json"] }), UsageError, "-x");
});

Deno.test("a flag that needs a value and has none is a usage error", () => {
  assertThrows(() => parseFlags(["--rate"], { string: ["rate"] }), UsageError, "--rate needs a value");
});

Deno.test("a negatable flag is true by default and false with --no-", () => {
  const known = { boolean: ["save"], negatable: ["save"], defaults: { save: true } } as const;
  assertEquals(parseFlags([], known).save, true);
  assertEquals(parseFlags(["--no-save"], known).save, false);
});

Deno.test("a number is held to its range, and to whole numbers where it must be one", () => {
  const rule = { min: 1, max: 100, integer: true };
  assertEquals(numberFlag("n", "100", rule), 100);
  for (const text of ["0", "101", "1.5", "x", "", "NaN", "Infinity"]) {
    assertThrows(() => numberFlag("n", text, rule), UsageError, `--n ${text} is not`);
  }
  assertEquals(numberFlag("s", "0.5", { min: 0.1, max: 1 }), 0.5);
});

Deno.test("what is a number to its reader and none to a program says how to write it", () => {
  const cases: [text: string, unit: string | undefined, form: string][] = [
    ["10,000", undefined, "1000000: write it as 10000."],
    ["10 000", undefined, "1000000: write it as 10000."],
    ["99%", "percent", "1000000: write it as 99."],
    ["50ms", "µs", "1000000: write it in µs, in digits alone."],
    ["10k", undefined, "1000000: write it in digits alone."],
    ["many", undefined, "1000000."],
    ["-1", undefined, "1000000."],
  ];
  for (const [text, unit, form] of cases) {
    const rule = { min: 0, max: 1e6, ...(unit !== undefined && { unit }) };
    assertThrows(() => numberFlag("n", text, rule), UsageError, `--n ${text} is not a number from 0 to ${form}`);
  }
});

Deno.test("a list of numbers is separated by commas", () => {
  assertEquals(numberList("n", "10,100", { min: 1, max: 100 }), [10, 100]);
  assertThrows(() => numberList("n", "10,,100", { min: 1, max: 100 }), UsageError);
});

Deno.test("a separator before the flags, as deno task passes it on, is no word", () => {
  assertEquals(parseFlags(["--", "epoll", "--quick"], { boolean: ["quick"] })._, ["epoll"]);
});

Deno.test("a flag that may be repeated is a list of what it was given, and each needs a value", () => {
  const known = { collect: ["cmd"], string: ["rate"] } as const;
  const flags = parseFlags(["--cmd", "a b", "--cmd=c", "--rate", "1", "--rate", "2"], known);
  assertEquals([flags.cmd, flags.rate], [["a b", "c"], "2"]);
  assertEquals([parseFlags(["--cmd", "a"], known).cmd, parseFlags([], known).cmd], [["a"], []]);
  assertThrows(() => parseFlags(["--cmd", "a", "--cmd="], known), UsageError, "--cmd needs a value");
});

Deno.test("a negative number behind a flag is its value, and behind the separator nothing is", () => {
  const known = { string: ["seconds"], boolean: ["quick"] } as const;
  assertEquals(parseFlags(["--seconds", "-1", "--quick"], known).seconds, "-1");
  assertEquals(parseFlags(["--seconds", "-.5"], known).seconds, "-.5");
  assertThrows(() => parseFlags(["--quick", "-1"], known), UsageError, "Unknown flag -1.");
});

Deno.test("help is asked for before the separator: what stands behind it is another program's", () => {
  assertEquals(asksForHelp(["epoll", "--help"]), true);
  assertEquals(asksForHelp(["--", "-h"]), true); // deno task passes a separator on
  assertEquals(asksForHelp(["--name", "x", "--", "node", "--help"]), false);
});

Deno.test("a usage is wrapped at 80 columns, below where its lines begin", () => {
  const flags = "[--flag value] ".repeat(8).trim();
  const lines = wrapUsage(`Usage: deno task x ${flags}\n  name   ${flags}`).split("\n");
  assertEquals(lines.every((line) => line.length <= 80), true);
  assertEquals(lines.map((line) => /^ */.exec(line)![0].length), [0, 7, 2, 2]);
});

const LONG = `${"word ".repeat(16)}end.`;
const WRAPPED = `${"word ".repeat(16).trim()}\nend.`;

Deno.test("what continues a sentence of a usage flows on behind a line that was too long", () => {
  const long = `       --x: ${"word ".repeat(15)}end;`;
  const flag = "       --y: another";
  const lines = wrapUsage(`Usage: deno task x\n${long}\n       and more.\n${flag}`).split("\n");
  assertEquals(lines, [
    "Usage: deno task x",
    `       --x: ${"word ".repeat(13).trim()}`,
    "       word word end; and more.",
    flag,
  ]);
});

/** Runs a script that throws, and returns what `runScript` makes of it. */
async function outcomeOf(error: string): Promise<{ code: number; stderr: string }> {
  const script = `
    import { runScript } from ${JSON.stringify(new URL("./flags.ts", import.meta.url).href)};
    import * as errors from ${JSON.stringify(new URL("./errors.ts", import.meta.url).href)};
    await runScript("Usage: deno task x [--quick]\\n       --quick: a first look", () => Promise.reject(${error}));`;
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-lock", "--no-check", script],
    env: { FORCE_COLOR: "1" },
  }).output();
  return { code, stderr: new TextDecoder().decode(stderr).trimEnd() };
}

Deno.test("an error with a known cause is one sentence, and its code is that of its kind", async () => {
  const cases: [string, number, string][] = [
    ["new errors.UsageError('No.')", 2, "No.\nHelp: deno task x --help"],
    [`new errors.UsageError("${LONG}")`, 2, `${WRAPPED}\nHelp: deno task x --help`],
    [`new errors.CannotStore("${LONG}")`, 70, WRAPPED],
    ["new errors.Unavailable('Not here.')", 69, "Not here."],
    ["new errors.CannotStore('Disk full.')", 70, "Disk full."],
    ["new errors.KnownFailure('\\x1b[31mred\\x1b[0m')", 70, "red"],
    ["new errors.Interrupted()", 130, "Interrupted."],
    ["new Deno.errors.PermissionDenied('Cannot open x.')", 70, "Cannot open x."],
  ];
  for (const [error, code, stderr] of cases) assertEquals(await outcomeOf(error), { code, stderr }, error);
  const limit = await outcomeOf("new Deno.errors.WouldBlock('Failed to spawn')");
  assertEquals([limit.code, limit.stderr.startsWith("No more processes or threads can be started here")], [70, true]);
  const full = await outcomeOf("Object.assign(new Error('Too many open files'), { code: 'EMFILE' })");
  assertEquals(
    [
      full.code,
      full.stderr.startsWith("This process cannot open more files or pipes"),
      full.stderr.includes("    at "),
    ],
    [70, true, false],
  );
});

Deno.test("an error that nobody knows keeps its stack trace, without colours, and is no verdict", async () => {
  const { code, stderr } = await outcomeOf("new TypeError('what?')");
  assertEquals([code, stderr.startsWith("TypeError: what?\n    at "), stderr.includes("\x1b")], [70, true, false]);
});
