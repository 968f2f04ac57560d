import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "./errors.ts";
import { numberFlag, numberList, parseFlags } from "./flags.ts";

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
