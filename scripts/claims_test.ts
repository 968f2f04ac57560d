import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { hostFacts } from "../lib/sampling/host.ts";
import { machineOf } from "../lib/results/machine.ts";
import { writeStudy } from "../lib/results/studies.ts";
import { readClaims } from "../lib/claims/file.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const MACHINE = machineOf(hostFacts());
const PERMISSIONS = [
  "--no-prompt",
  "--allow-read",
  "--allow-write=results",
  "--allow-run",
  "--allow-ffi",
  "--allow-sys",
];

/** Runs a script in another folder with the permissions of its task. */
async function script(name: string, cwd: string, ...args: string[]) {
  const config = ["--config", join(ROOT, "deno.json")];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", ...PERMISSIONS, ...config, join(ROOT, "scripts", name), ...args],
    cwd,
    env: { NO_COLOR: "1" },
  }).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

/** Writes down what it was asked for. */
const LOG = 'Deno.writeTextFileSync("runs.txt", `${Deno.args}\\n`, { append: true });\n';

/** An empty project, whose task `probe` is a program. */
function project(program = "") {
  const path = Deno.makeTempDirSync();
  const probe = "deno run --allow-read --allow-write probe.ts";
  Deno.mkdirSync(join(path, "results"));
  Deno.writeTextFileSync(join(path, "deno.json"), JSON.stringify({ tasks: { probe } }));
  Deno.writeTextFileSync(join(path, "probe.ts"), LOG + program);
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

Deno.test("where nothing is measured every claim is printed and stored as such, and the code is 1", async () => {
  using dir = project();
  const { code, stdout } = await script("claims.ts", dir.path, "--no-run");
  assertEquals(code, 1);
  assertStringIncludes(stdout, "T-switch: A context switch takes about 10 µs.");
  assertMatch(stdout, /^T-switch +not measured yet +–$/m);
  const { rows } = (await readClaims(join(dir.path, "results", MACHINE)))!;
  assertEquals([rows.length, rows.some(({ verdict }) => verdict === "not measured yet")], [48, true]);
});

Deno.test("a command that leaves no figure is run once, and its claim stays open", async () => {
  using dir = project("Deno.exit(3);");
  const { code, stderr } = await script("claims.ts", dir.path, "--only", "T-switch,C-pooling,T-switch", "--no-save");
  assertEquals(code, 1);
  assertStringIncludes(stderr, "deno task probe context-switch --no-save ended with exit code 3.");
  assertEquals(Deno.readTextFileSync(join(dir.path, "runs.txt")), "context-switch,--no-save\npooling,--no-save\n");
  assertEquals([...Deno.readDirSync(join(dir.path, "results"))], []);
});

Deno.test("what is missing is measured by its command, and its figures decide; a second time nothing is run", async () => {
  using dir = project(`
    Deno.mkdirSync("results/${MACHINE}/studies/probe", { recursive: true });
    Deno.copyFileSync("made.json", "results/${MACHINE}/studies/probe/made.json");`);
  const row = { probe: "context-switch", metric: "switch_us", value: 2, low: 1.9, high: 2.1, runs: 7, note: null };
  const rows = ["pipe one-core", "pipe two-cores"].map((variant) => ({ ...row, variant }));
  const command = "deno task probe context-switch";
  const study = await writeStudy("probe", rows, { command, quick: false, dir: join(dir.path, "elsewhere") });
  Deno.copyFileSync(study, join(dir.path, "made.json"));
  for (const _ of [1, 2]) {
    const { code, stdout } = await script("claims.ts", dir.path, "--only", "T-switch", "--json");
    const [{ verdict, figure, low, high }] = JSON.parse(stdout);
    assertEquals([code, verdict, figure, low, high], [0, "does not hold", 2, 1.9, 2.1]);
  }
  assertEquals(Deno.readTextFileSync(join(dir.path, "runs.txt")), "context-switch\n");
  const claims = (await readClaims(join(dir.path, "results", MACHINE)))!;
  assertEquals([claims.rows.length, claims.host.cores], [48, hostFacts().cores]);
});

Deno.test("an unknown claim is a usage error that names the nearest", async () => {
  using dir = project();
  const { code, stderr } = await script("claims.ts", dir.path, "--only", "T-swich");
  assertEquals(code, 2);
  assertStringIncludes(stderr, "Unknown claim T-swich. Did you mean T-switch?");
});

Deno.test("without figures the advisor names the commands that make them, and ends with 1", async () => {
  using dir = project();
  const flags = ["--connections", "100", "--cpu-us", "5000"];
  const { code, stdout, stderr } = await script("advise/main.ts", dir.path, ...flags);
  assertEquals([code, stdout], [1, ""]);
  assertStringIncludes(stderr, "  deno task exp epoll\n");
  assertStringIncludes(
    stderr,
    "  deno task compare epoll reactor-pool thread-per-conn --scenario mixed --rate 200 --work 0,500,5000,50000\n",
  );
  assertMatch(stderr, /^These commands measure what this machine lacks, in at most about \d+ min:$/m);
  assertStringIncludes(stderr, "\nThen ask again: deno task advise --connections 100 --cpu-us 5000\n");
});

Deno.test("the advisor asks for connections, and takes no number out of its range", async () => {
  using dir = project();
  assertEquals((await script("advise/main.ts", dir.path)).code, 2);
  assertEquals((await script("advise/main.ts", dir.path, "--connections", "1", "--idle", "101")).code, 2);
});
