/**
 * What a page of the report hands to its script.
 *
 * @module
 */
import type { ChartSpec } from "../../lib/charts/config.ts";

/** Rows that can be downloaded: what is missing is null. */
export type Rows = Record<string, string | number | null>[];

/** What the JSON in the page has of each machine. */
export interface PageData {
  charts: Record<string, ChartSpec>;
  downloads: { servers: Rows; runs: Rows; comparisons: Rows };
}
