import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { FINDING_IDS } from "./findings.ts";
import { hostFacts } from "../sampling/host.ts";
import {
  ENDS,
  FIELDS,
  newest,
  newResult,
  readResults,
  type Result,
  SCENARIOS,
  SCHEMA,
  writeResult,
} from "./results.ts";
import { explained } from "../testing/format_doc.ts";
import { cacheFor, folder } from "../testing/folder.ts";

function example(change: Partial<Result> = {}, time?: string): Result {
  const run = {
    experiment: "epoll",
    family: "readiness",
    scenario: "hold",
    parameters: { connections: 100, seconds: 1, warmup_seconds: 0 },
    host: hostFacts(),
    metrics: { answered: 100, p99_us: 410.5, user_bytes_per_conn: -3 },
    histogram: "HISTFAAAA",
    findings: [{ id: "short_run", sentence: "it ran for 0.5 s" }],
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
  assertEquals(path, join(dir.path, "epoll", `20250131T123456Z-${result.id}.json`));
  assertEquals(await readResults(dir.path), { results: [result], passedOver: [] });
  assertEquals(names(dirname(path)), [basename(path)]);
});

Deno.test("a metric that was not measured is null, and each has its place", () => {
  const { metrics } = example();
  assertEquals(Object.keys(metrics), Object.keys(FIELDS.metrics));
  assertEquals([metrics.answered, metrics.threads, metrics.ratio], [100, null, null]);
});

Deno.test("where nothing was stored yet there are no results", async () => {
  using dir = folder();
  assertEquals(await readResults(join(dir.path, "none")), { results: [], passedOver: [] });
});

Deno.test("files that are damaged, of another shape or newer are named and passed over, the others are read", async () => {
  using dir = folder();
  const whole = JSON.stringify(example());
  const { host, metrics, ...headless } = example();
  const cases: [name: string, content: string, why: string][] = [
    ["a-truncated", whole.slice(0, -20), "it is damaged: "],
    ["b-empty", "", "it is damaged: "],
    [
      "c-newer",
      JSON.stringify({ ...example(), schema: SCHEMA + 1 }),
      `its schema is ${SCHEMA + 1}, this program knows ${SCHEMA}`,
    ],
    ["d-none", "null", "it is not an object"],
    ["e-headless", JSON.stringify({ ...headless, metrics }), "host is not an object"],
    [
      "f-text",
      JSON.stringify({ ...example(), metrics: { ...metrics, p99_us: "410" } }),
      "metrics.p99_us is not a number",
    ],
    ["g-more", JSON.stringify({ ...example(), metrics: { ...metrics, p99_ms: 4 } }), "metrics.p99_ms is unknown"],
    ["h-ended", JSON.stringify({ ...example(), ended: "fine" }), "ended is not one of ok, limited, "],
    ["i-time", JSON.stringify({ ...example(), time: "yesterday" }), "time is not a time like "],
    [
      "j-finding",
      JSON.stringify({ ...example(), findings: [{ id: "short_run" }] }),
      "findings[0].sentence is not text",
    ],
    ["k-sysctl", JSON.stringify({ ...example(), host: { ...host, sysctls: {} } }), "host.sysctls.fs.file-max is not "],
  ];
  const good = example();
  await writeResult(good, dir.path);
  for (const [name, content] of cases) Deno.writeTextFileSync(join(dir.path, "epoll", `${name}.json`), content);
  Deno.writeTextFileSync(join(dir.path, "README.md"), "no result");
  const { results, passedOver } = await readResults(dir.path);
  assertEquals(results, [good]);
  assertEquals(passedOver.map(({ path }) => path), cases.map(([name]) => join(dir.path, "epoll", `${name}.json`)));
  for (const [i, [, , why]] of cases.entries()) assertStringIncludes(passedOver[i]!.why, why);
});

Deno.test("a file of schema 1 is read, and what it did not have is null", async () => {
  using dir = folder();
  const { manifest: _, metrics, ...rest } = example();
  const { connect_seconds: _seconds, processes: _processes, ...old } = metrics;
  Deno.mkdirSync(join(dir.path, "epoll"));
  Deno.writeTextFileSync(join(dir.path, "epoll", "a.json"), JSON.stringify({ ...rest, schema: 1, metrics: old }));
  const { results, passedOver } = await readResults(dir.path);
  assertEquals(passedOver, []);
  assertEquals(results, [{
    ...rest,
    schema: SCHEMA,
    manifest: null,
    metrics: { ...old, connect_seconds: null, processes: null },
  }]);
});

Deno.test("what is no valid result is not stored", async () => {
  using dir = folder();
  const result = example({ reason: 3 as unknown as string });
  await assertRejects(() => writeResult(result, dir.path), Error, "reason is not text");
  assertEquals(names(dir.path), []);
});

Deno.test("a folder that cannot be written is an error that names the path", async () => {
  using dir = folder();
  const file = join(dir.path, "file");
  Deno.writeTextFileSync(file, "in the way");
  await assertRejects(() => writeResult(example(), file), Error, `Cannot store ${join(file, "epoll")}`);
});

/** Stores a result in a process of its own, which first runs `before` and then tells the error, if there is one. */
async function storeElsewhere(dir: string, limit: string, before: string) {
  const script = `
    import { writeResult } from ${JSON.stringify(new URL("./results.ts", import.meta.url).href)};
    ${before}
    try { await writeResult(${JSON.stringify(example())}, ${JSON.stringify(dir)}); }
    catch (error) { console.log(error.message); }`;
  const file = join(dir, "store.ts");
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
    file,
  ];
  const env = { DENO_DIR: cacheFor(join(dir, "cache")) };
  const { stdout, signal } = await new Deno.Command("sh", { args, env }).output();
  return { signal, said: new TextDecoder().decode(stdout) };
}

const onUnix = Deno.build.os === "windows" ? Deno.test.ignore : Deno.test; // sh, ulimit

onUnix("a disk that is full in mid-write is an error that names the path, and leaves no file", async () => {
  using dir = folder();
  // ulimit counts in blocks of 512 bytes. Who ignores SIGXFSZ gets EFBIG from write(2).
  const { said } = await storeElsewhere(dir.path, "trap '' XFSZ; ulimit -f 2;", "");
  assertStringIncludes(said, `Cannot store ${join(dir.path, "epoll")}`);
  assertEquals(names(join(dir.path, "epoll")), []);
});

onUnix("a process that dies between writing and renaming leaves nothing that is read as a result", async () => {
  using dir = folder();
  const { signal } = await storeElsewhere(dir.path, "", `Deno.rename = () => Deno.kill(Deno.pid, "SIGKILL");`);
  assertEquals(signal, "SIGKILL");
  const [left, ...more] = names(join(dir.path, "epoll"));
  assert(left?.endsWith(".json.tmp") && more.length === 0, `left: ${left}`);
  assertEquals(await readResults(dir.path), { results: [], passedOver: [] });
});

Deno.test("the newest result is that of the experiment, the scenario and the parameters that were asked for", () => {
  const at = (time: string, change: Partial<Result> = {}) => example(change, time);
  const thousand = { connections: 1000, seconds: 1, warmup_seconds: 0 };
  const results = [
    at("2025-01-03T00:00:00.000Z"),
    at("2025-01-05T00:00:00.000Z", { parameters: thousand }),
    at("2025-01-04T00:00:00.000Z"),
    at("2025-01-06T00:00:00.000Z", { scenario: "rate" }),
    at("2025-01-07T00:00:00.000Z", { experiment: "poll" }),
  ];
  assertEquals(newest(results, "epoll", "hold"), results[1]);
  assertEquals(newest(results, "epoll", "hold", { connections: 100 }), results[2]);
  assertEquals(newest(results, "epoll", "churn"), undefined);
});

Deno.test("results/README.md explains every field, scenario, finding and end, and no other", () => {
  const sections: [heading: string, names: readonly string[]][] = [
    ["The file", Object.keys(FIELDS.result)],
    ["Scenarios", SCENARIOS],
    ["Parameters", Object.keys(FIELDS.parameters)],
    ["Metrics", Object.keys(FIELDS.metrics)],
    ["Host", Object.keys(FIELDS.host)],
    ["Limits", Object.keys(FIELDS.limits)],
    ["Sysctls", Object.keys(FIELDS.sysctls)],
    ["Findings", FINDING_IDS],
    ["Ends", ENDS],
  ];
  for (const [heading, names] of sections) assertEquals(explained(heading), [...names], heading);
});
