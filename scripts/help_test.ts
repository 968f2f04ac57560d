/** How commands answer when they are asked for help, or in words that they do not know. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { EXIT_USAGE } from "../lib/cli/exit.ts";
import { project, ROOT, runTask } from "../lib/testing/task.ts";

const { tasks }: { tasks: Record<string, { command: string }> } = JSON.parse(
  Deno.readTextFileSync(join(ROOT, "deno.json")),
);
/** Tasks that run another task with a word more. */
const ALIASES = Object.keys(tasks).filter((name) => tasks[name]!.command.startsWith("deno task "));
const COMMANDS = Object.keys(tasks).filter((name) => !ALIASES.includes(name));
/** They pass on what they do not know: to deno test, to Jupyter, to Deno. */
const PASS_ON = ["test", "ok", "notebook", "wine"];

/** Runs all at once: each is a process that ends soon. */
const each = <T>(names: readonly string[], run: (name: string) => Promise<T>): Promise<T[]> =>
  Promise.all(names.map(run));

Deno.test("--help prints the usage of every task on stdout, within 80 columns, and does nothing else", async () => {
  using dir = project();
  await each(COMMANDS, async (name) => {
    const { code, stdout, stderr } = await runTask(name, ["--help"], dir.path);
    assertEquals([code, stderr], [0, ""], name);
    assertMatch(stdout, new RegExp(`^Usage: deno task ${name}\\b`));
    assertStringIncludes(stdout, EXIT_USAGE, name);
    for (const line of stdout.split("\n")) assert(line.length <= 80, `${name}: ${line.length} columns: ${line}`);
  });
  assertEquals([...Deno.readDirSync(join(dir.path, "results"))], []);
});

Deno.test("a task that stands for another one passes --help on", async () => {
  for (const name of ["exp:epoll", "test:jsr", "ok"]) {
    const command = new Deno.Command(Deno.execPath(), { args: ["task", "--quiet", name, "--help"], cwd: ROOT });
    const { code, stdout } = await command.output();
    assertEquals(code, 0, name);
    assertMatch(new TextDecoder().decode(stdout), /^Usage: deno task (exp|test) /);
  }
});

Deno.test("an unknown flag is a usage error: it is named with the command that helps on stderr, and the code is 2", async () => {
  using dir = project();
  await each(COMMANDS.filter((name) => !PASS_ON.includes(name)), async (name) => {
    const { code, stdout, stderr } = await runTask(name, ["--no-such-flag"], dir.path);
    assertEquals([code, stdout], [2, ""], `${name}: ${stderr}`);
    assertMatch(stderr, new RegExp(`^[^\n]*--no-such-flag[^\n]*\nHelp: deno task ${name} --help\n$`), name);
  });
});

Deno.test("what a scenario would ignore is refused, and a name that is none gets the nearest", async () => {
  using dir = project();
  const own = ["--name", "mine", "--url", "http://127.0.0.1:1"];
  const cases: [task: string, args: string[], says: string][] = [
    [
      "exp",
      ["epoll", "--scenario", "hold", "--rate", "100"],
      "--rate belongs to rate, mixed, slow, broadcast, not to hold.",
    ],
    ["measure", [...own, "--scenario", "hold,throughput", "--rate", "1"], "not to hold, throughput."],
    ["exp", ["ws-epoll", "--head", "client"], "--head belongs to HTTP requests"],
    ["compare", ["ws-epoll", "ws-deno", "--head", "client"], "--head belongs to HTTP requests"],
    ["exp", ["epoll", "--scenario", "hodl"], "Unknown scenario hodl. Did you mean hold?"],
    ["measure", [...own, "--scenario", "mixed"], "it is for deno task exp"],
    ["compare", ["epoll", "my-own-server"], "deno task ab compares two"],
  ];
  for (const [task, args, says] of cases) {
    const { code, stdout, stderr } = await runTask(task, args, dir.path);
    assertEquals([code, stdout], [2, ""], `${task} ${args}: ${stderr}`);
    assertStringIncludes(stderr.replaceAll("\n", " "), says);
  }
  const { stdout } = await runTask("measure", ["--help"], dir.path);
  assertStringIncludes(stdout, "hold,throughput,rate,churn,slow,broadcast]"); // without mixed
});

Deno.test("a value out of its range says so, also where it looks like a flag", async () => {
  using dir = project();
  const { code, stderr } = await runTask("exp", ["epoll", "--seconds", "-1"], dir.path);
  assertEquals(code, 2);
  assertStringIncludes(stderr, "--seconds -1 is not a number from 0.01 to 1800.");
});
