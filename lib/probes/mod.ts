/**
 * The probes, by name.
 *
 * @module
 */
import { findIn } from "../catalogue/catalogue.ts";
import { backlog } from "./backlog.ts";
import { bandwidth } from "./bandwidth.ts";
import { contextSwitch } from "./context_switch.ts";
import { descriptors } from "./descriptors.ts";
import { generator } from "./generator.ts";
import { idleCpu } from "./idle_cpu.ts";
import { lateness } from "./lateness.ts";
import { listings } from "./listings/listings.ts";
import { loops } from "./loops.ts";
import { processMemory, threadMemory } from "./memory.ts";
import { million } from "./million/million.ts";
import { pooling } from "./pooling.ts";
import type { Probe } from "./probe.ts";
import { processes } from "./processes.ts";
import { proxy } from "./proxy.ts";
import { queue } from "./queue.ts";
import { socketOptions } from "./socket_options.ts";
import { statsLine } from "./stats_line.ts";
import { systemCalls } from "./system_calls.ts";
import { threadCount } from "./thread_count.ts";

export type { Probe, ProbePlan, ProbeRow } from "./probe.ts";

/** All of them, in the order in which they are run. */
export const PROBES: readonly Probe[] = [
  contextSwitch,
  threadMemory,
  processMemory,
  threadCount,
  idleCpu,
  statsLine,
  systemCalls,
  generator,
  loops,
  queue,
  backlog,
  descriptors,
  proxy,
  pooling,
  socketOptions,
  bandwidth,
  lateness,
  processes,
  listings,
  million, // the last: the kernel is busy for a while with what it leaves
];

/**
 * Finds a probe by its name.
 *
 * @throws {UsageError} If there is none: `Unknown probe contxt-switch. Did you mean context-switch?`
 */
export function findProbe(name: string): Probe {
  return findIn(PROBES, name, "probe");
}
