/**
 * What the cells of the notebooks call. It is the only module of the project that a notebook imports.
 *
 * @module
 */
export { catalogue } from "../catalogue/catalogue.ts";
export { obstacleTo } from "../catalogue/tools.ts";
export { FAN_OUT, held, latencies, ratios, reached, waits } from "../charts/figures.ts";
export { judged, written } from "../claims/claim.ts";
export { atLeast, quotient } from "../claims/figure.ts";
export { claimOf, showClaim, showJudged, showRule, showSwitches, showVerdicts, tryClaim } from "./claims.ts";
export { crossingLive } from "./crossing.ts";
export { fanOutChart, showDeliveries } from "./fan_out.ts";
export { faultsLive, showFaults } from "./faults.ts";
export { slope } from "./footprint.ts";
export { predict } from "./inputs.ts";
export {
  check,
  runEach,
  showC,
  showCalls,
  showDifference,
  showFootprints,
  showSource,
  showVisits,
  showWaits,
  slopes,
} from "./lesson.ts";
export { LIMIT_COLUMNS, limitsAt } from "./limits.ts";
export { extrapolation, growLive, total, weigh } from "./memory.ts";
export { compareLive, extremes, showManifests, sides, verdict } from "./pairs.ts";
export { showProbe } from "./probes.ts";
export { judgeLive, madeUpNights, showCourse, showHistory, showSelftest } from "./regress.ts";
export { run, runLive } from "./run.ts";
export { boundIn, introduce, isQuick, show, showTable, showText } from "./show.ts";
export { readBook, stored } from "./stored.ts";
export { showLoads } from "./sweep.ts";
export { broadcastRuns, newestLaw, userMemory, widest } from "../results/choose.ts";
export { C10K } from "../results/conventions.ts";
export { hostFacts } from "../sampling/host.ts";
export { holds, userMemoryText } from "../tables/overview.ts";
export { readinessColumns } from "../tables/studies.ts";
export { bytes, count } from "../text/format.ts";
