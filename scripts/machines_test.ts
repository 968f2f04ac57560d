/**
 * Commands that look at results, on a machine that has measured less than the reference: they show the reference alone, and
 * change nothing that another machine has measured.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { machineOf, referenceMachine } from "../lib/results/machine.ts";
import { newResult, writeResult } from "../lib/results/results.ts";
import { type HostFacts, hostFacts } from "../lib/sampling/host.ts";
import { writeStudy } from "../lib/results/studies.ts";
import { compared, held, loaded, on, storedOf } from "../lib/testing/fixtures.ts";
import { folder } from "../lib/testing/folder.ts";
import { runTask } from "../lib/testing/task.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const HERE = machineOf(hostFacts());
const CPU = "Abacus 3000";
const HELD_HERE = 7654; // no other run has this number

/** All files of a folder with their contents, by their paths in it. */
function contents(dir: string, under = ""): Map<string, string> {
  const found = new Map<string, string>();
  for (const { name, isDirectory, isFile } of Deno.readDirSync(join(dir, under))) {
    const path = join(under, name);
    if (isDirectory) { for (const [each, text] of contents(dir, path)) found.set(each, text); }
    if (isFile) found.set(path, new TextDecoder("latin1").decode(Deno.readFileSync(join(dir, path))));
  }
  return found;
}

const changes = (before: Map<string, string>, after: Map<string, string>): string[] =>
  [...new Set([...before.keys(), ...after.keys()])].filter((path) => before.get(path) !== after.get(path)).sort();

/** Copies the files that lie in a folder of this project, without its folders. */
function copyFiles(folder: string, to: string): void {
  Deno.mkdirSync(join(to, folder));
  for (const { name, isFile } of Deno.readDirSync(join(ROOT, folder))) {
    if (isFile) Deno.copyFileSync(join(ROOT, folder, name), join(to, folder, name));
  }
}

/** A copy of this project's results, measured on a machine of another processor, and one run that was measured here. */
async function project() {
  const dir = folder();
  const own = join(ROOT, "results", (await referenceMachine(join(ROOT, "results")))!);
  let reference = "";
  for (const path of contents(own).keys()) {
    if (!path.endsWith(".json") || path === "baseline.json") continue;
    const stored: { host: HostFacts } = JSON.parse(Deno.readTextFileSync(join(own, path)));
    stored.host.cpu = CPU;
    reference = machineOf(stored.host);
    const target = join(dir.path, "results", reference, path);
    Deno.mkdirSync(join(target, ".."), { recursive: true });
    Deno.writeTextFileSync(target, JSON.stringify(stored));
  }
  Deno.writeTextFileSync(join(dir.path, "results", "reference"), `${reference}\n`);
  Deno.copyFileSync(join(ROOT, "README.md"), join(dir.path, "README.md"));
  for (const folder of ["experiments", join("experiments", "peers")]) copyFiles(folder, dir.path);
  const here = newResult({
    experiment: "epoll",
    family: "readiness",
    scenario: "hold",
    parameters: { connections: HELD_HERE, seconds: 1, warmup_seconds: 0 },
    host: hostFacts(),
    metrics: { connections: HELD_HERE, answered: HELD_HERE },
    histogram: null,
    findings: [],
    ended: "ok",
    reason: null,
    command: "deno task exp epoll",
  });
  await writeResult(here, join(dir.path, "results"));
  return { path: dir.path, reference, [Symbol.dispose]: () => dir[Symbol.dispose]() };
}

/** Runs a task in another folder, with the permissions that it has here. */
const task = (cwd: string, name: string, ...args: string[]) => runTask(name, args, cwd);

Deno.test("claims and advise show the reference until this machine has as much, and write nothing", async () => {
  using at = await project();
  const before = contents(at.path);
  const commands: [name: string, why: string, ...args: string[]][] = [
    ["claims", "this one lacks T-", "--no-run"],
    ["advise", "nothing of what they show is measured on this one yet.", "--connections", "10000"],
  ];
  for (const [name, why, ...args] of commands) {
    const shown = await task(at.path, name, ...args);
    assertStringIncludes(shown.stderr, `Figures of ${at.reference}, the reference machine: ${why}`, name);
    const asked = await task(at.path, name, ...args, "--machine", at.reference);
    assertEquals([asked.code, asked.stdout], [shown.code, shown.stdout], name);
    assertEquals(asked.stderr, `Figures of ${at.reference}, as asked.\n`);
    assert(shown.stdout.length > 100, shown.stdout);
    assertEquals(changes(before, contents(at.path)), [], name);
  }
});

/** Stores what the commands would store that advise names, with a loop that blocks, a pool that waits little, and threads. */
async function measureHere(results: string): Promise<void> {
  const host = hostFacts();
  const names = ["epoll", "reactor-pool", "thread-per-conn"];
  const pieces = names.flatMap((name) => [held(name, 10_000), loaded(name, { cpu_us_per_request: 10 })]);
  const waits = Object.entries({ "reactor-pool": 0.02, "thread-per-conn": 0.1 }).flatMap(([name, ratio]) =>
    [0, 50_000].flatMap((heavy_us) => [
      compared(["mixed", 100, "p99_us"], [name, "epoll"], heavy_us === 0 ? [1, 1, 1] : [ratio, ratio, ratio], {
        reference_value: 100 + heavy_us,
        heavy_us,
      }),
      compared(["mixed", 100, "cpu_us_per_request"], [name, "epoll"], [1, 1, 1], { heavy_us }),
    ])
  );
  const made = storedOf(on(host), ...pieces, ...waits);
  for (const result of made.results) await writeResult(result, results);
  const [study] = made.studies.comparison;
  await writeStudy("comparison", study!.rows, { command: study!.command, quick: false, dir: results });
}

Deno.test("advise names the commands that measure here, and after them it answers with the figures of this machine", async () => {
  using at = await project();
  const asked = ["--connections", "1000", "--cpu-us", "50000"];
  const before = await task(at.path, "advise", ...asked);
  const commands = [
    ...["epoll --scenario throughput", "reactor-pool", "thread-per-conn"].map((words) => `  deno task exp ${words}`),
    "  deno task compare epoll reactor-pool thread-per-conn --scenario mixed --rate 200 --work 0,500,5000,50000",
    `Then ask again: deno task advise ${asked.join(" ")}`,
  ];
  assertStringIncludes(before.stderr, `\n${commands.join("\n")}\n`);
  await measureHere(join(at.path, "results"));
  const after = await task(at.path, "advise", ...asked);
  assertEquals([after.stderr, after.code], [`Figures of this machine, ${HERE}.\n`, 0]);
  const rows = after.stdout.split("\n").flatMap((line) =>
    /^(epoll|reactor-pool|thread-per-conn) +\d/.exec(line)?.[1] ?? []
  );
  assertEquals(rows, ["reactor-pool", "thread-per-conn", "epoll"]);
  assertStringIncludes(after.stdout.replace(/\s+/g, " "), "no run is stored; deno task exp <name> measures one");
  assertMatch(
    after.stdout,
    /\nCheck it here: deno task compare thread-per-conn reactor-pool .* --work 50000 [^\n]*\n$/,
  );
  // Without heavy requests all three cost the same.
  const even = await task(at.path, "advise", "--connections", "1000");
  assertEquals([even.stderr, even.code], [`Figures of this machine, ${HERE}.\n`, 3]);
  assertMatch(even.stdout.replace(/\s+/g, " "), /of CPU: \S+, \S+ or \S+: not told apart /);
});

Deno.test("the figures of this machine alone are shown where the user asks for them", async () => {
  using at = await project();
  const { code, stdout, stderr } = await task(at.path, "claims", "--machine", HERE, "--no-run", "--json");
  assertEquals([code, stderr.split("\n")[0]], [1, `Figures of ${HERE}, as asked.`]);
  const rows: { hosts: string[] }[] = JSON.parse(stdout);
  assertEquals(rows.filter(({ hosts }) => hosts.some((host) => host.includes(CPU))), []);
});

Deno.test("a machine without results is a usage error that names those that have some", async () => {
  using at = await project();
  for (const [name, ...args] of [["claims", "--no-run"], ["advise", "--connections", "1"]] as const) {
    const { code, stderr } = await task(at.path, name, ...args, "--machine", "abacus");
    assertEquals(code, 2, name);
    assertStringIncludes(stderr, "--machine abacus has no results. There are: ");
    for (const machine of [HERE, at.reference]) assertStringIncludes(stderr, machine);
  }
});

Deno.test("readme publishes the figures of the reference, whatever this machine has measured", async () => {
  using at = await project();
  const before = contents(at.path);
  const { code, stderr } = await task(at.path, "readme");
  assertEquals([code, stderr], [0, ""]);
  const after = contents(at.path);
  const changed = changes(before, after);
  const documents = ["README.md", "CLAIMS.md", "FORMAT.md"].map((name) => join("results", name));
  // The verdicts name the machine of their figures, which is another one here: they are judged anew.
  const published = ["README.md", ...documents, join("results", at.reference, "claims.json")];
  assertEquals(changed.filter((path) => !published.includes(path) && !path.startsWith(join("results", "charts"))), []);
  assert(changed.includes("README.md") && changed.some((path) => path.endsWith(".png")), changed.join());
  const text = Deno.readTextFileSync(join(at.path, "README.md"));
  assertStringIncludes(text, `: ${CPU}, `);
  assert(!text.includes("7 654"), "a figure of this machine is among them");
});
