import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { join } from "node:path";
import {
  catalogue,
  type Experiment,
  findIn,
  findInFolder,
  HeaderError,
  runsHere,
  wholeCatalogue,
} from "./catalogue.ts";
import { UsageError } from "../cli/errors.ts";
import { parseHeader } from "./header.ts";

const HEADER = `/**
 * @title      example: a title
 * @family     readiness
 * @question   Why?
 * @idea       An idea.
 * @prediction It holds 10 connections.
 * @compare    epoll
 * @requires   any
 * @run        deno run example.ts --port 8080
 * @try        curl http://127.0.0.1:8080/
 * @simplified Nothing.
 * @sources    epoll(7)
 */
`;
const example = parseHeader("example", "experiments/example.ts", HEADER);

function folder(files: Record<string, string>) {
  const path = Deno.makeTempDirSync();
  Deno.mkdirSync(join(path, "peers"));
  for (const [name, text] of Object.entries(files)) Deno.writeTextFileSync(join(path, name), text);
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

const headerOf = (name: string) => HEADER.replaceAll("example.ts", `${name}.ts`);

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

/** What a function writes on stderr. */
function onStderr(run: () => void): string {
  const lines: string[] = [];
  const original = console.error;
  console.error = (line: string) => lines.push(line);
  try {
    run();
  } finally {
    console.error = original;
  }
  return lines.join("\n");
}

const WRONG_FILES: [what: string, files: Record<string, string>, reason: RegExp][] = [
  ["the header of another file", { "mine.ts": headerOf("epoll") }, /mine\.ts: @run deno run epoll\.ts .* mine\.ts and/],
  ["no header", { "mine.ts": "" }, /mine\.ts: there is no header/],
  ["a prediction that nobody can judge", {
    "mine.ts": headerOf("mine").replace(" * @compare", " * @expect     it is fast\n * @compare"),
  }, /mine\.ts: @expect it is fast: it must be a condition/],
];

for (const [what, files, reason] of WRONG_FILES) {
  Deno.test(`a file with ${what} is left out with one sentence, and tests of all experiments fail`, () => {
    using dir = folder({ "epoll.ts": headerOf("epoll"), ...files });
    const said = onStderr(() => {
      for (let i = 0; i < 2; i++) assertEquals(catalogue(dir.path).map(({ name }) => name), ["epoll"]);
      assertEquals(findInFolder(dir.path, "epoll").name, "epoll");
    });
    const sentence = said.replaceAll("\n", " ");
    assertMatch(sentence, reason);
    assertEquals(sentence.match(/Left out: /g)?.length, 1, said);
    assert(!sentence.includes(`${dir.path}/`) && said.split("\n").every((line) => line.length <= 80), said);
    assertThrows(() => wholeCatalogue(dir.path), HeaderError, "mine.ts: ");
    const { message } = assertThrows(() => findInFolder(dir.path, "mine"), UsageError);
    assertMatch(message, reason);
  });
}

Deno.test("of two files of one name the first is used, and tests of all experiments fail", () => {
  using dir = folder({ "node.ts": headerOf("node"), "peers/node.ts": headerOf("node") });
  const said = onStderr(() => assertEquals(catalogue(dir.path).map(({ peer }) => peer), [false]));
  const { message } = assertThrows(() => wholeCatalogue(dir.path), HeaderError);
  for (const text of [said.replaceAll("\n", " "), message]) {
    assertMatch(text, /peers\/node\.ts: \S+\/node\.ts has the same name, rename one/);
  }
  assertEquals(findInFolder(dir.path, "node").peer, false);
});

Deno.test("the experiments of this project have headers that can be read", () => {
  assert(wholeCatalogue().some((experiment) => experiment.name === "epoll"));
});

const requiring = (text: string): Experiment =>
  parseHeader("example", "experiments/example.ts", HEADER.replace(/@requires.*/, `@requires ${text}`));

Deno.test("an experiment runs where one of its requirements holds; kernel versions are compared as numbers", () => {
  const runs = (text: string, os: string, kernel: string) => runsHere(requiring(text), { os, kernel }).runs;
  assertEquals(runs("any", "plan9", "4"), true);
  assertEquals(runs("linux", "linux", "2.0"), true);
  assertEquals(runs("linux", "darwin", "23.1.0"), false);
  assertEquals(runs("linux 5.19 | darwin", "darwin", "23.1.0"), true);
  assertEquals(runs("darwin | freebsd", "freebsd", "14.2-RELEASE"), true);
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
  for (const name of ["EPOLL", "epoll.ts", "experiments/epoll.ts", "experiments/peers/Epoll.ts"]) {
    assertEquals(messageOf(name), `Unknown experiment ${name}. Did you mean epoll?`);
  }
  assertEquals(messageOf("nginx-unit"), "Unknown experiment nginx-unit. There are: epoll, thread-per-conn.");
});
