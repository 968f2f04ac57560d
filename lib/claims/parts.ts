/**
 * What several claims ask in the same way.
 *
 * @module
 */
import { count } from "../text/format.ts";
import type { Part } from "./claim.ts";
import { type Evidence } from "./evidence.ts";
import type { Ratio } from "./ratio.ts";
import { C10K } from "../results/conventions.ts";

/** Whether a server held all the connections that the problem asks for. */
export function heldAll(evidence: Evidence, name: string): Part {
  const { answered } = evidence.held(name);
  return { says: `${name} held ${count(answered.estimate)} connections`, holds: answered.estimate >= C10K };
}

/** Memory at 10 000 connections, of one server against another. */
export const memoryRatio = (evidence: Evidence, metric: "pss_bytes" | "user_bytes_per_conn", of: string, to: string) =>
  evidence.ratio({ scenario: "hold", connections: C10K, metric, of, to });

/** CPU time of a request under full load, of one server against another. */
export const cost = (evidence: Evidence, of: string, to: string, connections = 100): Ratio =>
  evidence.ratio({ scenario: "throughput", connections, metric: "cpu_us_per_request", of, to });

/** The same over a wire, by busy time of the server's cores or by CPU time of its processes alone. */
export const costOverWire = (
  evidence: Evidence,
  metric: "core_us_per_request" | "cpu_us_per_request",
  of: string,
  to: string,
): Ratio => evidence.ratio({ scenario: "throughput", connections: 100, metric, isWired: true, of, to });
