/**
 * Makes up nights, for tests of what is seen in a history.
 *
 * @module
 */
import { hostKind } from "../baseline.ts";
import { HISTORY_SCHEMA, type Night, type NightRow } from "../night.ts";
import { HOST } from "./stored.ts";

/** A night with one experiment, so many days after the first. A ratio has an interval of 1 % on either side. */
export function night(day: number, change: Partial<NightRow> & { ratio: number | null }): Night {
  const { ratio } = change;
  const row: NightRow = {
    ...{ experiment: "event-loop", connections: 10, verdict: "unchanged", reason: null },
    ...{ rounds: 30, valid_rounds: 30, reference_cpu_us_per_request: 10, candidate_cpu_us_per_request: 14 },
    ...{ ratio_low: ratio && ratio * 0.99, ratio_high: ratio && ratio * 1.01 },
    ...{ change: 1, change_low: 0.99, change_high: 1.01, confirmed: null, confirmed_low: null, confirmed_high: null },
    ...{ findings: [], log_ratios: [], ...change },
  };
  return {
    ...{ schema: HISTORY_SCHEMA, id: String(day), time: new Date(Date.UTC(2026, 0, 1 + day, 3)).toISOString() },
    ...{
      command: "deno task regress",
      reference: "epoll",
      new_baseline: false,
      kind: hostKind(HOST),
      deno: HOST.deno,
      v8: HOST.v8,
      exit: 0,
    },
    experiments: [row],
  };
}
