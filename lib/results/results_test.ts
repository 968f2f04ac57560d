import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { machineOf } from "./machine.ts";
import { METRICS, newResult, readResults, type Result, SCHEMA, writeResult } from "./results.ts";
import { HOST } from "../testing/fixtures.ts";
import { cacheFor, folder } from "../testing/folder.ts";

const MACHINE = machineOf(HOST);

function example(change: Partial<Result> = {}, time?: string): Result {
  const run = {
    experiment: "epoll",
    family: "readiness",
    scenario: "hold",
    parameters: { connections: 100, seconds: 1, warmup_seconds: 0 },
    host: HOST,
    metrics: { answered: 100, p99_us: 410.5, user_bytes_per_conn: -3 },
    histogram: "HISTFAAAA",
    findings: [{ server: "epoll", id: "short_run", sentence: "it ran for 0.5 s" }],
    ended: "ok",
    reason: null,
    command: "deno task exp epoll --scenario hold --connections 100",
  } as const;
  return { ...newResult({ ...run, findings: [...run.findings] }, time ? new Date(time) : undefined), ...change };
}

const names = (dir: string) => [...Deno.readDirSync(dir)].map((entry) => entry.name);

Deno.test("what was stored is read again, from a file that bears its time and id", async () => {
  using dir = folder();
  const result = example({}, "2025-01-31T12:34:56.789Z");
  const path = await writeResult(result, dir.path);
  assertEquals(path, join(dir.path, MACHINE, "epoll", `20250131T123456Z-${result.id}.json`));
  assertEquals(await readResults(dir.path, MACHINE), { results: [result], passedOver: [] });
  assertEquals(names(dirname(path)), [basename(path)]);
});

Deno.test("a metric that was not measured is null, and each has its place", () => {
  const { metrics } = example();
  assertEquals(Object.keys(metrics), [...METRICS]);
  assertEquals([metrics.answered, metrics.threads, metrics.rss_bytes], [100, null, null]);
});

Deno.test("a run is a full one, its manifest and the version of the lab unknown, where it does not say more", () => {
  const { quick, manifest, lab } = example();
  assertEquals({ quick, manifest, lab }, {
    quick: false,
    manifest: null,
    lab: { commit: null, load: null, served: null },
  });
});

Deno.test("a file of another machine is never read, and a newer kernel or runtime makes no other machine", async () => {
  using dir = folder();
  const here = example();
  const there = example({ host: { ...HOST, memory_bytes: 2 * HOST.memory_bytes } });
  const newer = example({ host: { ...HOST, kernel: "7.0", deno: "3.0.0" } });
  for (const result of [here, there, newer]) await writeResult(result, dir.path);
  Deno.writeTextFileSync(join(dir.path, machineOf(there.host), "epoll", "damaged.json"), "{");
  const { results, passedOver } = await readResults(dir.path, MACHINE);
  assertEquals([results.map(({ id }) => id).sort(), passedOver], [[here.id, newer.id].sort(), []]);
  assertEquals((await readResults(dir.path, machineOf(there.host))).results, [there]);
});

Deno.test("where nothing was stored yet there are no results", async () => {
  using dir = folder();
  assertEquals(await readResults(join(dir.path, "none"), MACHINE), { results: [], passedOver: [] });
});

/** What may lie in a folder of results and is none, and what is said of it. */
function damaged(): [name: string, content: string, why: string][] {
  const whole = JSON.stringify(example());
  const { host, metrics, ...headless } = example();
  const older = (schema: number) => JSON.stringify({ ...example(), schema, findings: [] });
  return [
    ["a-truncated", whole.slice(0, -20), "it is damaged: "],
    ["b-empty", "", "it is damaged: "],
    [
      "c-newer",
      JSON.stringify({ ...example(), schema: SCHEMA + 1 }),
      `its schema is ${SCHEMA + 1}, this program knows ${SCHEMA}`,
    ],
    ["c-old-1", older(1), `its schema is 1, this program knows ${SCHEMA}`],
    ["c-old-2", older(2), `its schema is 2, this program knows ${SCHEMA}`],
    ["d-none", "null", "the value: expected Object, found null"],
    ["e-headless", JSON.stringify({ ...headless, metrics }), "host: missing"],
    [
      "f-text",
      JSON.stringify({ ...example(), metrics: { ...metrics, p99_us: "410" } }),
      'metrics.p99_us: expected number, found "410"',
    ],
    ["g-more", JSON.stringify({ ...example(), metrics: { ...metrics, p99_ms: 4 } }), "metrics.p99_ms: unknown field"],
    [
      "h-ended",
      JSON.stringify({ ...example(), ended: "fine" }),
      'ended: expected ("ok" | "limited" | "crashed" | "not_ready" | "skipped"), found "fine"',
    ],
    ["i-time", JSON.stringify({ ...example(), time: "yesterday" }), "time is not a time like "],
    [
      "j-finding",
      JSON.stringify({ ...example(), findings: [{ server: "epoll", id: "short_run" }] }),
      "findings.0.sentence: missing",
    ],
    ["k-sysctl", JSON.stringify({ ...example(), host: { ...host, sysctls: {} } }), "host.sysctls.fs.file-max: missing"],
    ["l-quick", JSON.stringify({ ...example(), quick: undefined }), "quick: missing"],
  ];
}

Deno.test("files that are damaged, of another shape or version are named and passed over, the others are read", async () => {
  using dir = folder();
  const cases = damaged();
  const good = example();
  await writeResult(good, dir.path);
  for (const [name, content] of cases) {
    Deno.writeTextFileSync(join(dir.path, MACHINE, "epoll", `${name}.json`), content);
  }
  Deno.writeTextFileSync(join(dir.path, MACHINE, "README.md"), "no result");
  Deno.writeTextFileSync(join(dir.path, MACHINE, "epoll", "left.json.tmp"), "half");
  const { results, passedOver } = await readResults(dir.path, MACHINE);
  assertEquals(results, [good]);
  assertEquals(
    passedOver.map(({ path }) => path),
    cases.map(([name]) => join(dir.path, MACHINE, "epoll", `${name}.json`)),
  );
  for (const [i, [, , why]] of cases.entries()) assertStringIncludes(passedOver[i]!.why, why);
});

Deno.test("what is no valid result is not stored", async () => {
  using dir = folder();
  const result = example({ reason: 3 as unknown as string });
  await assertRejects(() => writeResult(result, dir.path), Error, "reason: expected string, found 3");
  assertEquals(names(dir.path), []);
});

Deno.test("a folder that cannot be written is an error that names the path", async () => {
  using dir = folder();
  const file = join(dir.path, "file");
  Deno.writeTextFileSync(file, "in the way");
  await assertRejects(() => writeResult(example(), file), Error, `Cannot store ${join(file, MACHINE, "epoll")}`);
});

/** Stores a result in a process of its own, which first runs `before` and then tells the error, if there is one. */
async function storeElsewhere(dir: string, limit: string, before: string) {
  const script = `
    import { writeResult } from ${JSON.stringify(new URL("./results.ts", import.meta.url).href)};
    ${before}
    try { await writeResult(${JSON.stringify(example())}, ${JSON.stringify(dir)}); }
    catch (error) { console.log(error.message); }`;
  const file = join(dir, "store.mjs"); // no TypeScript: nothing has to be kept in the cache of Deno, which is shared
  Deno.writeTextFileSync(file, script);
  const args = [
    "-c",
    `${limit} exec "$@"`,
    "sh",
    Deno.execPath(),
    "run",
    "--config",
    fileURLToPath(new URL("../../deno.json", import.meta.url)),
    "--allow-all",
    "--config",
    fileURLToPath(new URL("../../deno.json", import.meta.url)),
    file,
  ];
  const env = { DENO_DIR: cacheFor(join(dir, "cache")) };
  const { stdout, signal } = await new Deno.Command("sh", { args, env }).output();
  return { signal, said: new TextDecoder().decode(stdout) };
}

const onUnix = Deno.build.os === "windows" ? Deno.test.ignore : Deno.test; // sh, ulimit

onUnix("a disk that is full in mid-write is an error that names the path, and leaves no file", async () => {
  using dir = folder();
  // ulimit counts in blocks of 512 bytes. A process that ignores SIGXFSZ gets EFBIG from write(2).
  const { said } = await storeElsewhere(dir.path, "trap '' XFSZ; ulimit -f 2;", "");
  assertStringIncludes(said, `Cannot store ${join(dir.path, MACHINE, "epoll")}`);
  assertEquals(names(join(dir.path, MACHINE, "epoll")), []);
});

onUnix("a process that dies between writing and renaming leaves nothing that is read as a result", async () => {
  using dir = folder();
  const { signal } = await storeElsewhere(dir.path, "", `Deno.rename = () => Deno.kill(Deno.pid, "SIGKILL");`);
  assertEquals(signal, "SIGKILL");
  const [left, ...more] = names(join(dir.path, MACHINE, "epoll"));
  assert(left?.endsWith(".json.tmp") && more.length === 0, `left: ${left}`);
  assertEquals(await readResults(dir.path, MACHINE), { results: [], passedOver: [] });
});

Deno.test("a server that is no experiment is of the family custom, also in files that call it own", async () => {
  using dir = folder();
  for (const family of ["own", "custom"]) await writeResult(example({ experiment: "mine", family }), dir.path);
  const { results } = await readResults(dir.path, MACHINE);
  assertEquals(results.map(({ family }) => family), ["custom", "custom"]);
});
