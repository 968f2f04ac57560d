import { assert, assertEquals, assertThrows } from "@std/assert";
import { parseHeader } from "./header.ts";

const HEADER = `/**
 * @title      example: a title
 * @family     readiness
 * @question   Does it stand
 *             on two lines?
 * @idea       An idea.
 *
 *             After a blank line it goes on.
 * @prediction It holds 10 connections.
 * @expect     hold(10).answered >= 10
 *             throughput(10).cpu_us_per_request < 0.85 * event-loop
 * @compare    epoll, event-loop
 * @requires   linux 5.19 | darwin, with a library that is named here
 * @needs      libkqueue.so.0 (libkqueue0), gcc (gcc), x.h (libx-dev), liby.so (-)
 * @version    gcc --version
 * @fairness   one thread; -O2
 * @cannot     serve-others one idle client
 *             blocks all.
 * @cannot     bound-head it never answers 431.
 * @workers    threads, 4 by default
 * @run        deno run --allow-ffi --allow-read=example.ts example.ts --port 8080
 * @try        curl http://127.0.0.1:8080/
 * @simplified Nothing.
 * @sources    epoll(7)
 */
import { parseArgs } from "node:util";
/** @title not this one */
`;
const PATH = "experiments/example.ts";
const example = parseHeader("example", PATH, HEADER);

/** The message of the error for a header in which `from` was replaced. */
function errorOf(from: string | RegExp, to: string): string {
  const changed = HEADER.replace(from, to);
  assert(changed !== HEADER, `nothing replaced: ${from}`);
  return assertThrows(() => parseHeader("example", PATH, changed), Error).message;
}

Deno.test("a header becomes an experiment, and a value of several lines is joined by single spaces", () => {
  assertEquals(example, {
    name: "example",
    path: PATH,
    peer: false,
    title: "example: a title",
    family: "readiness",
    question: "Does it stand on two lines?",
    idea: "An idea. After a blank line it goes on.",
    prediction: "It holds 10 connections.",
    expect: ["hold(10).answered >= 10", "throughput(10).cpu_us_per_request < 0.85 * event-loop"],
    compare: ["epoll", "event-loop"],
    requires: [{ os: "linux", kernel: "5.19" }, { os: "darwin", kernel: null }],
    needs: [
      { thing: "libkqueue.so.0", package: "libkqueue0" },
      { thing: "gcc", package: "gcc" },
      { thing: "x.h", package: "libx-dev" },
      { thing: "liby.so", package: null },
    ],
    version: "gcc --version",
    fairness: "one thread; -O2",
    workers: "threads, 4 by default",
    run: "deno run --allow-ffi --allow-read=example.ts example.ts --port 8080",
    try: "curl http://127.0.0.1:8080/",
    simplified: "Nothing.",
    sources: "epoll(7)",
    cannot: { "serve-others": "one idle client blocks all.", "bound-head": "it never answers 431." },
  });
});

Deno.test("a header with line ends of Windows is the same header", () => {
  assertEquals(parseHeader("example", PATH, HEADER.replaceAll("\n", "\r\n")), example);
});

Deno.test("a header that needs nothing but its system says so by silence", () => {
  const { expect, needs, version, fairness, workers } = parseHeader(
    "example",
    PATH,
    HEADER.replace(/ \* @(expect|needs|version|fairness|workers).*\n(?: \* {2}.*\n)*/g, ""),
  );
  assertEquals([expect, needs, version, fairness, workers], [[], [], null, null, null]);
});

Deno.test("a key that is missing, unknown, empty, repeated or out of order is named with the file", () => {
  assertEquals(errorOf(/ \* @idea[^@]*/, " * "), `${PATH}: @idea is missing.`);
  assertEquals(errorOf(/ \* @sources.*\n/, ""), `${PATH}: @sources is missing.`);
  assertEquals(errorOf("@idea      ", "@ideas     ").split(",")[0], `${PATH}: @ideas is unknown`);
  assertEquals(errorOf("@simplified Nothing.", "@simplified"), `${PATH}: @simplified is empty.`);
  assertEquals(errorOf(" * @try ", " * @run x\n * @try "), `${PATH}: @run stands twice.`);
  assertEquals(
    errorOf(" * @sources", " * @title again\n * @sources"),
    `${PATH}: @title stands after @simplified, it belongs before it.`,
  );
});

Deno.test("a value of the wrong form is named with the file and the key", () => {
  assert(errorOf("linux 5.19", "linux five").startsWith(`${PATH}: @requires linux five `));
  assert(errorOf("| darwin", "| darwin 23").startsWith(`${PATH}: @requires `)); // only Linux has a kernel minimum
  assert(errorOf("| darwin", "| solaris").startsWith(`${PATH}: @requires `));
  assert(errorOf("epoll, event-loop", "epoll and event-loop").startsWith(`${PATH}: @compare epoll and event-loop: `));
  assert(errorOf("gcc (gcc)", "gcc").startsWith(`${PATH}: @needs `));
  assert(errorOf("deno run", "node").startsWith(`${PATH}: @run node `));
  assert(errorOf("example.ts --port", "other.ts --port").startsWith(`${PATH}: @run `));
  assert(errorOf("serve-others one", "Serve_others one").startsWith(`${PATH}: @cannot Serve_others `));
  assertEquals(
    errorOf("@cannot     bound-head", "@cannot serve-others"),
    `${PATH}: @cannot serve-others stands twice.`,
  );
  assert(errorOf("/**\n", "/*\n").startsWith(`${PATH}: `)); // no header at all
});

Deno.test("a file of an older commit may have another order of keys", () => {
  const old = HEADER.replace(/( \* @cannot.*\n( \* {2}.*\n)*)+/, "").replace(
    " * @sources",
    " * @cannot     serve-others x y\n * @sources",
  );
  assertThrows(() => parseHeader("example", PATH, old), Error, "@cannot stands after @simplified");
  assertEquals(parseHeader("example", PATH, old, "any order").cannot, { "serve-others": "x y" });
});

Deno.test("what the architecture cannot do stands before how it is run", () => {
  const message = errorOf(/( \* @workers.*\n)/, " * @workers    threads, 4 by default\n * @cannot     x after them.\n");
  assertEquals(message, `${PATH}: @cannot stands after @workers, it belongs before it.`);
});
