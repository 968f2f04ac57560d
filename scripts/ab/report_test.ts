import { assertEquals } from "@std/assert";
import { find } from "../../lib/catalogue/catalogue.ts";
import type { PlacedRound } from "../../lib/regress/rounds.ts";
import { thisRuntime } from "../../lib/server/server.ts";
import { found, HOST } from "../../lib/testing/fixtures.ts";
import { type Fetch, readPair } from "./pair.ts";
import { reportJson, reportOf } from "./report.ts";

const fetch: Fetch = (version) => Promise.resolve({ path: `/deno-${version}`, version, v8Flags: [] });
const round = (log_ratio: number, a: number, b: number, findings: PlacedRound["findings"] = []): PlacedRound => ({
  experiment: "b",
  phase: "first",
  log_ratio,
  rate_per_s: null,
  reference_cpu_us_per_request: a,
  candidate_cpu_us_per_request: b,
  findings,
  failure: null,
});
const broken = { exit: 1, setup: { server_cores: "0" }, outcome: { ended: "broken", reason: "it crashed" } } as const;

Deno.test("the report of two commands says what was compared, on what machine, and what a request cost where rounds count", async () => {
  const pair = await readPair({ commands: ["node old.js", "cd new && exec node new.js"], path: "/api" }, "", fetch);
  const rounds = [round(0, 10, 11), round(0, 12, 13), round(0, 14, 15), round(1, 500, 900, [found("b", "steal")])];
  const report = reportOf(pair, { rounds, connections: 10, ratePerS: "half" }, broken, HOST);
  assertEquals(JSON.parse(reportJson(report)), {
    a: "a",
    b: "b",
    compared: {
      a: { command: "node old.js", experiment: null, deno: null, v8_flags: [] },
      b: { command: "cd new && exec node new.js", experiment: null, deno: null, v8_flags: [] },
    },
    path: "/api",
    connections: 10,
    rate_per_s: "half",
    host: "a CPU, 2 cores, 24 GiB, linux 6.1.0, Deno 2.9.6",
    median_cpu_us_per_request: { a: 12, b: 13 },
    exit: 1,
    server_cores: "0",
    ended: "broken",
    reason: "it crashed",
    rounds,
  });
  const none = reportOf(pair, { rounds: rounds.slice(3), connections: 10, ratePerS: null }, broken, HOST);
  assertEquals(none.median_cpu_us_per_request, { a: null, b: null });
});

Deno.test("the report of an experiment has the versions of Deno and the flags of V8", async () => {
  const experiment = find("event-loop");
  const of = async (wish: { deno?: string; v8Flags?: string }) => {
    const pair = await readPair({ experiment, commands: [], ...wish }, "", fetch);
    const { compared, path } = reportOf(pair, { rounds: [], connections: 1, ratePerS: 1 }, broken, HOST);
    return [path, ...[compared.a, compared.b].map(({ experiment, deno, v8_flags }) => [experiment, deno, v8_flags])];
  };
  assertEquals(await of({ deno: "2.8.3,2.9.6" }), [
    "/",
    ["event-loop 2.8.3", "2.8.3", []],
    ["event-loop 2.9.6", "2.9.6", []],
  ]);
  const { version } = thisRuntime();
  assertEquals((await of({ v8Flags: "--no-opt" })).slice(1), [
    [`event-loop ${version}`, version, []],
    [`event-loop ${version} --no-opt`, version, ["--no-opt"]],
  ]);
});
