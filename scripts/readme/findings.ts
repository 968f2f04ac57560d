/**
 * The findings in the README: one sentence each, with figures that are looked up.
 *
 * @module
 */
import { Evidence, NotMeasured } from "../../lib/claims/evidence.ts";
import { NotTestable } from "../../lib/claims/ratio.ts";
import type { Stored } from "../../lib/results/stored.ts";
import { describeSweep } from "../../lib/tables/sweep.ts";
import { bytes, count } from "../../lib/text/format.ts";

type Finding = (evidence: Evidence) => string;

const COLUMNS = 80; // of a table that is not shown here
const WIDE = 10_000;
const NARROW = 10;

const readiness: Finding = (evidence) => {
  const select = evidence.call("select", WIDE).estimate / evidence.call("select", NARROW).estimate;
  const epoll = evidence.call("epoll_wait", WIDE).estimate / evidence.call("epoll_wait", NARROW).estimate;
  const cost = evidence.call("epoll_wait", WIDE).estimate;
  return `**epoll's cost does not grow.** From ${NARROW} to ${count(WIDE)} descriptors a call of select costs × ` +
    `${count(select)}, one of epoll_wait × ${count(epoll, 2)}: ${count(cost, 2)} µs.`;
};

const oneThread: Finding = (evidence) => {
  const { answered, metrics } = evidence.held("epoll");
  return `**One thread holds ten thousand.** epoll held and answered ${count(answered.estimate)} connections with ` +
    `${bytes(metrics.pss_bytes)} of memory and ${count(metrics.threads)} threads, those of the runtime included.`;
};

const threads: Finding = (evidence) => {
  const workers = evidence.held("thread-per-conn");
  const native = evidence.held("c-threads");
  return `**Threads are cheaper than their reputation.** ${count(native.answered.estimate)} POSIX threads took ` +
    `${bytes(native.metrics.pss_bytes)}, not 80 GB; a Worker of Deno is an isolate, and ends at ` +
    `${count(workers.answered.estimate)}.`;
};

const rings: Finding = (evidence) => {
  const { estimate, low, high } = evidence.ratio({
    scenario: "throughput",
    metric: "cpu_us_per_request",
    connections: 100,
    of: "io-uring",
    to: "epoll",
  });
  return `**io_uring is not twice as fast as epoll.** At saturation it needs × ${
    count(estimate, 2)
  } the CPU per request ` +
    `[${count(low, 2)}, ${count(high, 2)}].`;
};

const heavy: Finding = (evidence) => {
  const { estimate, low, high } = evidence.ratio({
    scenario: "mixed",
    metric: "p99_us",
    connections: 100,
    of: "reactor-pool",
    to: "epoll",
  });
  return `**One heavy request makes a loop deaf.** With one request of a hundred that burns CPU, the p99 of the light ones ` +
    `with workers is × ${count(estimate, 3)} of a single loop's [${count(low, 3)}, ${count(high, 3)}].`;
};

const language: Finding = (evidence) => {
  const { estimate, low, high } = evidence.ratio({
    scenario: "throughput",
    metric: "cpu_us_per_request",
    connections: 100,
    of: "epoll",
    to: "c-epoll",
  });
  return `**TypeScript is fast enough to teach system calls.** epoll in TypeScript needs × ${
    count(estimate, 2)
  } the CPU per ` +
    `request of the same loop in C [${count(low, 2)}, ${count(high, 2)}].`;
};

const capacities: Finding = (evidence) => {
  const { rows, slo } = evidence.sweep();
  const { sentences } = describeSweep(rows, slo, COLUMNS);
  return `**How much each bears.** ${sentences.at(-1)}`;
};

const FINDINGS: readonly Finding[] = [oneThread, readiness, threads, rings, heavy, language, capacities];

/** The findings as a list; one whose figures are missing says which command measures them. */
export function findingsList(stored: Stored): string {
  return FINDINGS.map((finding) => {
    try {
      return `- ${finding(new Evidence(stored, true))}`;
    } catch (error) {
      if (error instanceof NotMeasured) return `- Not measured yet: \`${error.command}\`.`;
      if (error instanceof NotTestable) return `- Not available here: ${error.message}.`;
      throw error;
    }
  }).join("\n");
}
