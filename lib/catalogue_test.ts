import { assert, assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { catalogue, type Experiment, findIn, parseHeader, runsHere } from "./catalogue.ts";
import { UsageError } from "./errors.ts";

const HEADER = `/**
 * @title      example: a title
 * @family     readiness
 * @question   Does it stand
 *             on two lines?
 * @idea       An idea.
 *
 *             After a blank line it goes on.
 * @prediction It holds 10 connections.
 * @compare    epoll, event-loop
 * @requires   linux 5.19 | darwin, with a library that is named here
 * @run        deno run --allow-ffi --allow-read=example.ts example.ts --port 8080
 * @try        curl http://127.0.0.1:8080/
 * @simplified Nothing.
 * @cannot     serve-others one idle client
 *             blocks all.
 * @cannot     bound-head it never answers 431.
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

function folder(files: Record<string, string>) {
  const path = Deno.makeTempDirSync();
  Deno.mkdirSync(join(path, "peers"));
  for (const [name, text] of Object.entries(files)) Deno.writeTextFileSync(join(path, name), text);
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

const headerOf = (name: string) => HEADER.replaceAll("example.ts", `${name}.ts`);

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
    compare: ["epoll", "event-loop"],
    requires: [{ os: "linux", kernel: "5.19" }, { os: "darwin", kernel: null }],
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

Deno.test("a key that is missing, unknown, empty, repeated or out of order is named with the file", () => {
  assertEquals(errorOf(/ \* @idea[^@]*/, " * "), `${PATH}: @idea is missing.`);
  assertEquals(errorOf(/ \* @sources.*\n/, ""), `${PATH}: @sources is missing.`);
  assertEquals(errorOf("@idea      ", "@ideas     ").split(",")[0], `${PATH}: @ideas is unknown`);
  assertEquals(errorOf("@simplified Nothing.", "@simplified"), `${PATH}: @simplified is empty.`);
  assertEquals(errorOf(" * @try ", " * @run x\n * @try "), `${PATH}: @run stands twice.`);
  assertEquals(
    errorOf(" * @sources", " * @title again\n * @sources"),
    `${PATH}: @title stands after @cannot, it belongs before it.`,
  );
});

Deno.test("a value of the wrong form is named with the file and the key", () => {
  assert(errorOf("linux 5.19", "linux five").startsWith(`${PATH}: @requires linux five `));
  assert(errorOf("| darwin", "| darwin 23").startsWith(`${PATH}: @requires `)); // only Linux has a kernel minimum
  assert(errorOf("| darwin", "| solaris").startsWith(`${PATH}: @requires `));
  assert(errorOf("epoll, event-loop", "epoll and event-loop").startsWith(`${PATH}: @compare epoll and event-loop: `));
  assert(errorOf("deno run", "node").startsWith(`${PATH}: @run node `));
  assert(errorOf("example.ts --port", "other.ts --port").startsWith(`${PATH}: @run `));
  assert(errorOf("serve-others one", "Serve_others one").startsWith(`${PATH}: @cannot Serve_others `));
  assertEquals(
    errorOf("@cannot     bound-head", "@cannot serve-others"),
    `${PATH}: @cannot serve-others stands twice.`,
  );
  assert(errorOf("/**\n", "/*\n").startsWith(`${PATH}: `)); // no header at all
});

Deno.test("the catalogue has every experiment but no test, in the order of the README, and the peers at the end", () => {
  using dir = folder({
    "README.md":
      "The poll of old:\n\n1. [select](select.ts): like `poll`.\n2. [poll](poll.ts): x\n- [peers/nginx](peers/nginx.ts)\n",
    "zebra.ts": headerOf("zebra"),
    "aardvark.ts": headerOf("aardvark"),
    "poll.ts": headerOf("poll"),
    "select.ts": headerOf("select"),
    "select_test.ts": "",
    "peers/apache.ts": headerOf("apache"),
    "peers/nginx.ts": headerOf("nginx"),
    "peers/nginx.conf": "",
  });
  const all = catalogue(dir.path);
  assertEquals(all.map(({ name }) => name), ["select", "poll", "aardvark", "zebra", "nginx", "apache"]);
  assertEquals(all.map(({ peer }) => peer), [false, false, false, false, true, true]);
  assertEquals(all[4]!.path, join(dir.path, "peers", "nginx.ts"));
});

Deno.test("two files of one name are an error that names both", () => {
  using dir = folder({ "node.ts": headerOf("node"), "peers/node.ts": headerOf("node") });
  const { message } = assertThrows(() => catalogue(dir.path), Error);
  assert(message.includes(join(dir.path, "node.ts")) && message.includes(join(dir.path, "peers", "node.ts")), message);
});

Deno.test("the experiments of this project have headers that can be read", () => {
  assert(catalogue().some((experiment) => experiment.name === "epoll"));
});

const requiring = (text: string): Experiment =>
  parseHeader("example", PATH, HEADER.replace(/@requires.*/, `@requires ${text}`));

Deno.test("an experiment runs where one of its requirements holds; kernel versions are compared as numbers", () => {
  const runs = (text: string, os: string, kernel: string) => runsHere(requiring(text), { os, kernel }).runs;
  assertEquals(runs("any", "plan9", "4"), true);
  assertEquals(runs("linux", "linux", "2.0"), true);
  assertEquals(runs("linux", "darwin", "23.1.0"), false);
  assertEquals(runs("linux 5.19 | darwin", "darwin", "23.1.0"), true);
  assertEquals(runs("linux 5.19", "linux", "5.4.0-150-generic"), false);
  assertEquals(runs("linux 5.4", "linux", "5.19.0"), true);
  assertEquals(runs("linux 6", "linux", "5.19.0"), false);
  assertEquals(runs("linux 5.19", "linux", "6.1.0-13-amd64"), true);
  assertEquals(runs("linux 6.1.1", "linux", "6.1"), false);
  assertEquals(runs("linux 6.1", "linux", "6.1"), true);
});

Deno.test("what does not run here says what it needs and what is here", () => {
  assertEquals(runsHere(requiring("linux 5.19 | darwin"), { os: "linux", kernel: "5.4.0-150-generic" }), {
    runs: false,
    reason: "example needs Linux 5.19 or newer or macOS; this is Linux 5.4.0-150-generic.",
  });
});

Deno.test("a name that was misspelt gets the nearest one, a name far off gets them all", () => {
  const all = ["epoll", "thread-per-conn"].map((name) => ({ ...example, name }));
  assertEquals(findIn(all, "epoll"), all[0]!);
  const messageOf = (name: string) => assertThrows(() => findIn(all, name), UsageError).message;
  assertEquals(messageOf("epol"), "Unknown experiment epol. Did you mean epoll?");
  assertEquals(messageOf("thread-per-con"), "Unknown experiment thread-per-con. Did you mean thread-per-conn?");
  assertEquals(messageOf("nginx-unit"), "Unknown experiment nginx-unit. There are: epoll, thread-per-conn.");
});
