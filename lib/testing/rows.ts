import type { ComparisonRow } from "../study.ts";

/** A row of a comparison as tests want it: with figures, unless they say otherwise. */
export const comparisonRow = (change: Partial<ComparisonRow> = {}): ComparisonRow => ({
  scenario: "throughput",
  connections: 100,
  rate_per_s: null,
  heavy_us: null,
  reference: "c-epoll",
  candidate: "epoll",
  metric: "cpu_us_per_request",
  reference_value: 6,
  candidate_value: 6.6,
  ratio: 1.1,
  ratio_low: 1.05,
  ratio_high: 1.15,
  rounds: 7,
  findings: [],
  reason: null,
  ...change,
});
