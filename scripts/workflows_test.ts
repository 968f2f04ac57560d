/** The jobs on GitHub: what they use, what they may, and that what they run is there. */
import { assert, assertEquals, assertMatch } from "@std/assert";

const ROOT = new URL("../", import.meta.url);
const WORKFLOWS = new URL(".github/workflows/", ROOT);
const read = (path: string) => Deno.readTextFileSync(new URL(path, ROOT));
const tasks: Record<string, { command: string }> = JSON.parse(read("deno.json")).tasks;
const workflows = [...Deno.readDirSync(WORKFLOWS)].map(({ name }) => ({
  name,
  text: read(`.github/workflows/${name}`),
}));

/** The one to copy into the repository of a server. */
const own = { name: "own-server.yml", text: read("scripts/nightly/own-server.yml") };

Deno.test("there are workflows, so that the tests below have something to judge", () => {
  assertEquals(workflows.map(({ name }) => name).sort(), ["ci.yml", "regression.yml"]);
});

Deno.test("every action is pinned by its commit, with its version beside it, and everywhere by the same", () => {
  const pins = new Map<string, string>();
  for (const { name, text } of [...workflows, own]) {
    const uses = [...text.matchAll(/\buses:(.*)/g)].map((match) => match[1]!);
    assert(uses.length > 0, name);
    for (const action of uses) {
      assertMatch(action, /^ [\w-]+\/[\w-]+(\/[\w-]+)?@[0-9a-f]{40} # v\d+\.\d+\.\d+$/, name);
      const [path, pin] = action.trim().split("@");
      const repository = path!.split("/").slice(0, 2).join("/");
      assertEquals(pins.get(repository) ?? pin, pin, `${name}: ${repository}`);
      pins.set(repository, pin!);
    }
  }
});

Deno.test("every task that a workflow runs is there, and all run the same Deno", () => {
  const texts = [...workflows.map(({ text }) => text), own.text, read(".ci/run")];
  const named = texts.flatMap((text) => [...text.matchAll(/(?:deno@\S+|\$DENO|"\$\{deno\[@\]\}") task ([\w:-]+)/g)]);
  assert(named.length >= 6, String(named.length));
  for (const [line, task] of named) assert(Object.hasOwn(tasks, task!), line);
  const versions = texts.flatMap((text) => [...text.matchAll(/deno@([\d.]+)/g)].map((match) => match[1]));
  assertEquals(new Set(versions).size, 1);
});

const indentOf = (line: string) => line.length - line.trimStart().length;

/** What shells run: the lines and blocks behind `run:`. */
function scriptsOf(text: string): string[] {
  const lines = text.split("\n");
  return lines.flatMap((line, i) => {
    const [, behind] = /^ *(?:- )?run: *(.*)$/.exec(line) ?? [];
    if (!behind) return []; // `run:` of `defaults:` has nothing behind it
    if (!/^[|>]/.test(behind)) return [behind];
    const rest = lines.slice(i + 1);
    const end = rest.findIndex((each) => each.trim() !== "" && indentOf(each) <= indentOf(line));
    return [rest.slice(0, end < 0 ? undefined : end).map((each) => each.trim()).join("\n").trim()];
  });
}

/** What decides in a shell: keywords, tests, and lists that go on by an exit code. */
const DECIDES = /(^|[\s;(])(if|elif|case|for|while|until|test|jq|grep|awk|sed)\s|&&|\|\||(^|\s)\[\[?\s|\bexit\b|\$\?/m;

Deno.test("no workflow decides by shell: it runs commands, which decide in tested code", () => {
  for (
    const line of ["if [ 1 ]; then x; fi", "[ -n x ]", "a && b", "a || code=$?", "x | jq .", "exit 1", "case x in"]
  ) {
    assertMatch(line, DECIDES);
  }
  const scripts = workflows.flatMap(({ name, text }) => scriptsOf(text).map((script) => ({ name, script })));
  assertEquals(scripts.length, 3);
  for (const { name, script } of scripts) assert(!DECIDES.test(script), `${name}: ${script}`);
  assert(workflows.every(({ text }) => !/\bjq\b/.test(text)));
});

Deno.test("the nightly jobs run the two commands of the night, and hand the verdict on by the output that the first writes", () => {
  const { text } = workflows.find(({ name }) => name === "regression.yml")!;
  assertEquals(scriptsOf(text), [
    "$DENO task nightly --json --allow-inconclusive $FLAGS >night.json",
    "printf '%s' \"$NIGHT\" >night.json\n$DENO task nightly:issue night.json",
  ]);
  assertMatch(text, /^ {6}night: \$\{\{ steps\.night\.outputs\.night \}\}$/m);
  assertMatch(text, /^ {10}NIGHT: \$\{\{ needs\.measure\.outputs\.night \}\}$/m);
  assertMatch(text, /^ {8}id: night$/m);
});

Deno.test("the workflow for a server of one's own runs the same commands, in the folder of the lab", () => {
  const scripts = scriptsOf(own.text);
  assertEquals(scripts.length, 3);
  const { text } = workflows.find(({ name }) => name === "regression.yml")!;
  assertEquals(scripts[2], scriptsOf(text)[1]);
  assertEquals(own.text.match(/^ {8}working-directory: lab$/gm)?.length, 2);
  assertEquals(own.text.match(/# change\b/g)?.length, 5);
  assertMatch(own.text, /five lines are to be\n# changed/);
});

Deno.test("what the jobs of the night set in the environment is what the commands may read", () => {
  const may = (task: string) => /--allow-env=(\S+)/.exec(tasks[task]!.command)![1]!.split(",");
  const { text } = workflows.find(({ name }) => name === "regression.yml")!;
  assert(may("nightly:issue").includes("DEFAULT_BRANCH") && text.includes("DEFAULT_BRANCH: "));
  assert(may("nightly").includes("GITHUB_OUTPUT"));
  assertMatch(
    tasks["nightly:issue"]!.command,
    / --allow-read --allow-run=gh --allow-env=\S+ scripts\/nightly\/issue_main\.ts$/,
  );
});

Deno.test("a workflow may read and no more; only the job that tells of a regression may write, and only issues", () => {
  for (const { name, text } of [...workflows, own]) {
    assertMatch(text, /^permissions:\n {2}contents: read\n\n/m, name);
    const [jobs] = text.split(/^jobs:$/m).slice(1);
    const granted = jobs!.split(/^ {2}(?=\w+:)/m);
    const writing = granted.filter((job) => /: write\b/.test(job)).map((job) => job.split(":")[0]);
    assertEquals(writing, name === "ci.yml" ? [] : ["issue"], name);
    assertEquals([...text.matchAll(/([\w-]+): write\b/g)].map((match) => match[1]), writing.map(() => "issues"), name);
    assert(!/permissions: *(write-all|read-all)/.test(text), name);
  }
});

Deno.test("what a workflow keeps of results/ lies in the folders of machines, as the commands store it", () => {
  const paths = [...workflows, own].flatMap(({ text }) =>
    [...text.matchAll(/results\/[\w.*/-]+/g)].map(([path]) => path)
  );
  const stored = ["baseline.json", "history.jsonl", "regress-run.jsonl"];
  assertEquals([...new Set(paths)].sort(), stored.map((name) => `results/*/${name}`));
});

Deno.test("every job ends by itself, and runs of one workflow do not overlap", () => {
  for (const { name, text } of [...workflows, own]) {
    assertEquals(text.match(/^ {4}timeout-minutes: \d+$/gm)?.length, text.match(/^ {4}runs-on: /gm)?.length, name);
    assertMatch(text, /^concurrency:/m, name);
  }
});
