/** The jobs on GitHub: what they use, what they may, and that what they run is there. */
import { assert, assertEquals, assertMatch } from "@std/assert";

const ROOT = new URL("../", import.meta.url);
const WORKFLOWS = new URL(".github/workflows/", ROOT);
const read = (path: string) => Deno.readTextFileSync(new URL(path, ROOT));
const tasks: Record<string, unknown> = JSON.parse(read("deno.json")).tasks;
const workflows = [...Deno.readDirSync(WORKFLOWS)].map(({ name }) => ({
  name,
  text: read(`.github/workflows/${name}`),
}));

Deno.test("there are workflows, so that the tests below have something to judge", () => {
  assertEquals(workflows.map(({ name }) => name).sort(), ["ci.yml", "regression.yml"]);
});

Deno.test("every action is pinned by its commit, with its version beside it, and everywhere by the same", () => {
  const pins = new Map<string, string>();
  for (const { name, text } of workflows) {
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
  const texts = [...workflows.map(({ text }) => text), read(".ci/run")];
  const named = texts.flatMap((text) => [...text.matchAll(/(?:deno@\S+|\$DENO|"\$\{deno\[@\]\}") task ([\w:-]+)/g)]);
  assert(named.length >= 6, String(named.length));
  for (const [line, task] of named) assert(Object.hasOwn(tasks, task!), line);
  const versions = texts.flatMap((text) => [...text.matchAll(/deno@([\d.]+)/g)].map((match) => match[1]));
  assertEquals(new Set(versions).size, 1);
});

Deno.test("a workflow may read and no more; only the job that tells of a regression may write, and only issues", () => {
  for (const { name, text } of workflows) {
    assertMatch(text, /^permissions:\n {2}contents: read\n\n/m, name);
    const [jobs] = text.split(/^jobs:$/m).slice(1);
    const granted = jobs!.split(/^ {2}(?=\w+:)/m);
    const writing = granted.filter((job) => /: write\b/.test(job)).map((job) => job.split(":")[0]);
    assertEquals(writing, name === "regression.yml" ? ["issue"] : [], name);
    assertEquals([...text.matchAll(/([\w-]+): write\b/g)].map((match) => match[1]), writing.map(() => "issues"), name);
    assert(!/permissions: *(write-all|read-all)/.test(text), name);
  }
});

Deno.test("what a workflow keeps of results/ lies in the folders of machines, as the commands store it", () => {
  const paths = workflows.flatMap(({ text }) => [...text.matchAll(/results\/[\w.*/-]+/g)].map(([path]) => path));
  const stored = ["baseline.json", "history.jsonl", "regress-run.jsonl"];
  assertEquals([...new Set(paths)].sort(), stored.map((name) => `results/*/${name}`));
});

Deno.test("every job ends by itself, and runs of one workflow do not overlap", () => {
  for (const { name, text } of workflows) {
    assertEquals(text.match(/^ {4}timeout-minutes: \d+$/gm)?.length, text.match(/^ {4}runs-on: /gm)?.length, name);
    assertMatch(text, /^concurrency:/m, name);
  }
});
