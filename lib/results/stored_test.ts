import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { newResult, type Run, writeResult } from "./results.ts";
import { isSameMachine, quickRuns, readStored, resultPath, wholeRuns } from "./stored.ts";
import { HOST } from "../testing/fixtures.ts";

const RUN: Run = {
  experiment: "epoll",
  family: "readiness",
  scenario: "hold",
  host: HOST,
  metrics: { answered: 1 },
  parameters: { connections: 1, seconds: 1, warmup_seconds: 0 },
  histogram: null,
  findings: [],
  ended: "ok",
  reason: null,
  command: "deno task exp epoll",
};

Deno.test("figures of another kind of machine are left out; a newer kernel or runtime makes no other machine", async () => {
  const dir = Deno.makeTempDirSync();
  try {
    const other = { ...HOST, cores: 64 };
    const newer = { ...HOST, kernel: "7.0", deno: "3.0.0" };
    assertEquals([isSameMachine(HOST, other), isSameMachine(HOST, newer)], [false, true]);
    await writeResult(newResult(RUN), dir);
    await writeResult(newResult({ ...RUN, host: other }), dir);
    Deno.writeTextFileSync(join(dir, "epoll", "damaged.json"), "{");
    const { stored, passedOver } = await readStored(dir, newer);
    assertEquals(stored.results.map(({ host }) => host.cores), [2]);
    assertEquals(passedOver.map(({ path }) => path), [join(dir, "epoll", "damaged.json")]);
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
});

Deno.test("a result's path is where it is stored, with slashes", async () => {
  const dir = Deno.makeTempDirSync();
  try {
    const result = newResult(RUN);
    const path = await writeResult(result, join(dir, "results"));
    assertEquals(join(dir, ...resultPath(result).split("/")), path);
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
});

Deno.test("whole and quick runs are told apart, and those without figures are neither", () => {
  const quick = newResult({ ...RUN, parameters: { ...RUN.parameters, climb_seconds: 3 } });
  const broken = newResult({ ...RUN, ended: "crashed", reason: "it crashed" });
  const limited = newResult({ ...RUN, ended: "limited", reason: "descriptors" });
  const late = newResult({ ...quick, ended: "limited", reason: "it ran out of time" });
  const results = [newResult(RUN), quick, broken, limited, late];
  assertEquals(wholeRuns({ results }, "epoll", "hold"), [results[0]!, limited]);
  assertEquals(quickRuns({ results }, "epoll", "hold"), [quick]);
});
