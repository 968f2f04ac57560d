import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { wholeCatalogue } from "../lib/catalogue/catalogue.ts";
import { runTask } from "../lib/testing/task.ts";

interface Task {
  description: string;
  command: string;
}

const ROOT = new URL("../", import.meta.url);
const read = (path: string) => Deno.readTextFileSync(new URL(path, ROOT));
const { tasks }: { tasks: Record<string, Task> } = JSON.parse(read("deno.json"));
const { imports }: { imports: Record<string, string> } = JSON.parse(read("scripts/imports.json"));
const readme = read("README.md");

Deno.test("every task says in one line what it does", () => {
  for (const [name, { description }] of Object.entries(tasks)) assertMatch(description, /^[A-Z].{10,90}[^.]$/, name);
});

Deno.test("no task is allowed more than it names", () => {
  for (const [name, { command }] of Object.entries(tasks)) {
    assert(!/ (-A|--allow-all|--allow-write|--allow-net|--allow-env)( |$)/.test(command), name);
  }
});

Deno.test("every script that a task runs is there", async () => {
  for (const { command } of Object.values(tasks)) {
    for (const [path] of command.matchAll(/scripts\/\S+\.ts/g)) assert((await Deno.stat(new URL(path, ROOT))).isFile);
  }
});

Deno.test("every experiment and every peer has a task of its name, and every such task an experiment", () => {
  const named = Object.entries(tasks).filter(([name]) => name.startsWith("exp:"));
  for (const [name, { command }] of named) assertEquals(command, `deno task exp ${name.slice("exp:".length)}`);
  assertEquals(named.map(([name]) => name).sort(), wholeCatalogue().map(({ name }) => `exp:${name}`).sort());
});

Deno.test("every command that the README names is a task", () => {
  const named = [...readme.matchAll(/deno(?:@[\d.]+)? task ([a-z][\w:-]*)/g)].map((match) => match[1]!);
  assertGreater(named.length, 10);
  for (const name of named) assert(name in tasks, name);
});

Deno.test("lib/README.md says of every package why it is there", () => {
  const [, packages] = read("lib/README.md").split("\n## Packages\n");
  for (const [name, target] of Object.entries(imports)) {
    const isKnown = !target.startsWith("npm:") || name.startsWith("@types/") ||
      packages!.includes(`\`${name.replace(/\/$/, "")}\``);
    assert(isKnown, name);
  }
});

Deno.test("the report is written with the permissions of its task", async () => {
  const { code, stdout, stderr } = await runTask("report", [], fileURLToPath(ROOT));
  assertEquals(code, 0, stderr);
  assertMatch(stdout, /^results\/report\.html: \d+ runs, .* MiB\.$/m);
});
