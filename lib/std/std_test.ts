/** What the project relies on in these packages, whichever the import map names: the adapters or the originals. */
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  AssertionError,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { deadline, delay } from "@std/async";
import { parseArgs } from "@std/cli";
import { format } from "@std/fmt/bytes";

// The assertions are under test, so that they fail is observed without them.
function refuses(assertion: () => unknown): void {
  let error: unknown;
  try {
    assertion();
  } catch (thrown) {
    error = thrown;
  }
  if (!(error instanceof AssertionError)) throw new Error(`It should fail: ${assertion}`, { cause: error });
}

async function refusesLater(assertion: () => Promise<unknown>): Promise<void> {
  const error = await assertion().then(() => undefined, (reason) => reason);
  if (!(error instanceof AssertionError)) throw new Error(`It should fail: ${assertion}`, { cause: error });
}

Deno.test("assertEquals compares what values hold, not what they are", () => {
  assertEquals({ a: [1, { b: NaN }] }, { a: [1, { b: NaN }] });
  assertEquals(new Map([["a", new Set([1])]]), new Map([["a", new Set([1])]]));
  assertEquals(new Date(5), new Date(5));
  assertEquals(new Uint8Array([1, 2]), new Uint8Array([1, 2]));
  assertEquals(/a/g, /a/g);
  for (
    const [a, b] of [
      [{ a: undefined }, {}],
      [[1, 2], [2, 1]],
      [1, "1"],
      [null, undefined],
      [new Map([["a", 1]]), new Map([["a", 2]])],
      [new Set([1]), new Set([2])],
      [new Date(5), new Date(6)],
      [new Uint8Array([1]), new Int8Array([1])],
    ] as const
  ) {
    refuses(() => assertEquals<unknown>(a, b));
    assertNotEquals<unknown>(a, b);
  }
  refuses(() => assertNotEquals({ a: [1] }, { a: [1] }));
});

Deno.test("a failed assertEquals shows the reason, the value and what was expected", () => {
  const { message } = assertThrows(
    () => assertEquals({ port: 8080 }, { port: 9090 }, "the ready line"),
    AssertionError,
  );
  for (const part of ["the ready line", "8080", "9090"]) assertStringIncludes(message, part);
});

Deno.test("every other assertion passes where it should and throws an AssertionError where it should not", () => {
  assert(1);
  refuses(() => assert(0, "zero"));
  assertMatch("epoll", /^ep/);
  refuses(() => assertMatch("epoll", /^po/));
  assertStringIncludes("epoll", "poll");
  refuses(() => assertStringIncludes("epoll", "wait"));
  assertAlmostEquals(0.1 + 0.2, 0.3);
  assertAlmostEquals(10, 11, 1);
  refuses(() => assertAlmostEquals(10, 11));
  refuses(() => assertAlmostEquals(NaN, 1));
});

Deno.test("the assertions of order are strict where their names say so", () => {
  assertGreater(2, 1);
  assertLess(1, 2);
  for (const same of [assertGreaterOrEqual, assertLessOrEqual]) same(1, 1);
  for (const strict of [assertGreater, assertLess]) refuses(() => strict(1, 1));
  refuses(() => assertGreaterOrEqual(1, 2));
  refuses(() => assertLessOrEqual(2, 1));
});

Deno.test("assertThrows returns the error and checks its class and message", () => {
  const throws = () => {
    throw new RangeError("port 70000");
  };
  assertEquals(assertThrows(throws, RangeError, "70000").message, "port 70000");
  assertThrows(throws, "only that it throws");
  refuses(() => assertThrows(throws, TypeError));
  refuses(() => assertThrows(throws, RangeError, "80"));
  refuses(() => assertThrows(() => {}));
});

Deno.test("assertRejects resolves to the error, and a throw before the promise is not a rejection", async () => {
  const rejects = () => Promise.reject(new RangeError("port 70000"));
  assertEquals((await assertRejects(rejects, RangeError, "70000")).message, "port 70000");
  await assertRejects(rejects, "only that it rejects");
  await refusesLater(() => assertRejects(rejects, TypeError));
  await refusesLater(() => assertRejects(rejects, RangeError, "80"));
  await refusesLater(() => assertRejects(() => Promise.resolve()));
  const throws = () => {
    throw new RangeError();
  };
  await refusesLater(() => assertRejects(throws));
});

Deno.test("deadline passes on what comes in time, and is a TimeoutError where nothing comes", async () => {
  assertEquals(await deadline(delay(0).then(() => 7), 60_000), 7);
  await assertRejects(() => deadline(Promise.reject(new RangeError("late")), 60_000), RangeError, "late");
  const never = new Promise<void>(() => {});
  const keepsTheLoopAlive = setInterval(() => {}, 1000); // the timer of the original's deadline does not
  assertEquals((await assertRejects(() => deadline(never, 1), DOMException)).name, "TimeoutError");
  clearInterval(keepsTheLoopAlive);
});

Deno.test("an aborted delay rejects with the reason", async () => {
  const abort = new AbortController();
  const waiting = delay(60_000, { signal: abort.signal });
  abort.abort(new RangeError("enough"));
  await assertRejects(() => waiting, RangeError, "enough");
});

Deno.test("parseArgs reads flags with and without values, and what is left over", () => {
  const options = { string: ["port", "host"], boolean: ["quick", "json"] };
  const args = parseArgs(["--port", "1", "run", "--quick", "7", "--port=080", "--", "--no-json"], options);
  assertEquals(args.port, "080", "of a repeated flag the last one counts, and it stays text");
  assertEquals(args.host, undefined);
  assertEquals([args.quick, args.json], [true, false]);
  assertEquals(args._, ["run", 7, "--no-json"]);
});

Deno.test("parseArgs fills in defaults, and --no-name negates only what is negatable", () => {
  const refused: string[] = [];
  const args = parseArgs(["--no-save", "--no-quick", "--nonsense", "--port"], {
    string: ["rate", "port"],
    boolean: ["save", "quick"],
    negatable: ["save"],
    default: { save: true, quick: true, rate: "100" },
    unknown: (arg) => {
      refused.push(arg);
      return false;
    },
  });
  assertEquals([args.save, args.quick, args.rate, args.port], [false, true, "100", ""]);
  assertEquals(refused, ["--no-quick", "--nonsense"]);
});

Deno.test("bytes are written in three digits, in steps of 1000 or 1024", () => {
  assertEquals([0, 999, 1337, 65_536_000].map((n) => format(n)), ["0 B", "999 B", "1.34 kB", "65.5 MB"]);
  assertEquals(format(7.4 * 2 ** 20, { binary: true }), "7.4 MiB");
  assertEquals(format(-5), "-5 B");
  assertThrows(() => format(NaN), TypeError);
});

Deno.test("parseArgs collects the values of a flag that may be repeated, none too", () => {
  const known = { string: ["cmd"], collect: ["cmd"] };
  assertEquals(parseArgs(["--cmd", "a", "--cmd", "b"], known).cmd, ["a", "b"]);
  assertEquals(parseArgs(["--cmd", "a"], known).cmd, ["a"]);
  assertEquals(parseArgs([], known).cmd, []);
});
