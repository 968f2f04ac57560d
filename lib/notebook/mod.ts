/**
 * The face of the library: what a notebook needs to list experiments, run them, compare them and read stored results.
 *
 * @example
 * ```ts
 * import { createGuard, describe, find, hostFacts, runStep } from "./mod.ts";
 *
 * const result = await runStep({
 *   experiment: find("epoll"),
 *   host: hostFacts(),
 *   step: { scenario: "hold", parameters: { connections: 1000, seconds: 1, warmup_seconds: 0 } },
 *   guard: createGuard(),
 *   signal: new AbortController().signal,
 *   onProgress: () => {},
 * });
 * console.log(describe([result]));
 * ```
 *
 * @module
 */
export { collect } from "../../scripts/advise/facts.ts";
export { advise, describeAdvice } from "../../scripts/advise/answer.ts";
export { catalogue, type Experiment, find, runsHere } from "../catalogue/catalogue.ts";
export { judgeClaim, LEDGER } from "../claims/ledger.ts";
export { claimsTable, describeClaims } from "../claims/table.ts";
export { compare, type ComparePlan, type Comparison } from "../compare/compare.ts";
export { createGuard, Guard } from "../run/guard.ts";
export { Histogram } from "../timing/histogram.ts";
export { type HostFacts, hostFacts } from "../sampling/host.ts";
export { ladder, type Step, type Wish } from "../run/ladder.ts";
export { LoadGenerator, type Window } from "../load/generator.ts";
export { newest, readResults, type Result, SCENARIOS, writeResult } from "../results/results.ts";
export { type RunOptions, runStep, type StepProgress } from "../run/step.ts";
export { kernelSocketBytes, type Sample, sample } from "../sampling/sampler.ts";
export { experimentCommand, type Server, startServer } from "../server/server.ts";
export { bootstrapMedian, type Interval, median, ratioInterval } from "../timing/stats.ts";
export { readStored } from "../results/stored.ts";
export { readStudies, type Study, writeStudy } from "../results/studies.ts";
export { describe } from "../tables/runs.ts";
export { type Kind } from "../results/rows.ts";
export { type Rows } from "../results/rows.ts";
export { readClaims } from "../claims/file.ts";
