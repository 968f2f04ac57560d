/**
 * The face of the library: what a notebook needs to list experiments, run them, compare them and read stored results.
 *
 * @example
 * ```ts
 * import { createGuard, describe, find, hostFacts, runStep } from "../lib/mod.ts";
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
export { collect } from "./advise_facts.ts";
export { advise, describeAdvice } from "./advise_text.ts";
export { catalogue, type Experiment, find, runsHere } from "./catalogue.ts";
export { judgeClaim, LEDGER } from "./claims/ledger.ts";
export { claimsTable, describeClaims } from "./claims/table.ts";
export { compare, type ComparePlan, type Comparison } from "./compare.ts";
export { createGuard, Guard } from "./guard.ts";
export { Histogram } from "./histogram.ts";
export { type HostFacts, hostFacts } from "./host.ts";
export { ladder, type Step, type Wish } from "./ladder.ts";
export { LoadGenerator, type Window } from "./load.ts";
export { newest, readResults, type Result, SCENARIOS, writeResult } from "./results.ts";
export { type RunOptions, runStep, type StepProgress } from "./run.ts";
export { kernelSocketBytes, type Sample, sample } from "./sampler.ts";
export { experimentCommand, type Server, startServer } from "./server.ts";
export { bootstrapMedian, type Interval, median, ratioInterval } from "./stats.ts";
export { readStored } from "./stored.ts";
export { readStudies, type Study, writeStudy } from "./study.ts";
export { describe } from "./summary.ts";
export { type Kind } from "./results/rows.ts";
export { type Rows } from "./results/rows.ts";
export { readClaims } from "./claims/file.ts";
