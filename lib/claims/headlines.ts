/**
 * The headlines of README.md and of the report: one sentence each, with figures that are looked up.
 *
 * @module
 */
import { Evidence, NotMeasured } from "./evidence.ts";
import { nativeThreads } from "./about_threads.ts";
import { NotTestable } from "./ratio.ts";
import type { Stored } from "../results/stored.ts";
import { describeSweep } from "../tables/sweep.ts";
import { bytes, count } from "../text/format.ts";

/** A sentence with a title in `**`. */
type Headline = (evidence: Evidence) => string;

const COLUMNS = 80; // of a table that is not shown here
const WIDE = 10_000;
const NARROW = 10;
/** How many connections a server is asked for to see where it ends: the run that the tables show. */
const BREAK_AT = 20_000;

const readiness: Headline = (evidence) => {
  const select = evidence.call("select", WIDE).estimate / evidence.call("select", NARROW).estimate;
  const epoll = evidence.call("epoll_wait", WIDE).estimate / evidence.call("epoll_wait", NARROW).estimate;
  const cost = evidence.call("epoll_wait", WIDE).estimate;
  return `**epoll's cost does not grow.** From ${NARROW} to ${count(WIDE)} descriptors a call of select costs × ` +
    `${count(select)}, one of epoll_wait × ${count(epoll, 2)}: ${count(cost, 2)} µs.`;
};

const oneThread: Headline = (evidence) => {
  const { answered, metrics } = evidence.held("epoll");
  return `**One thread holds ten thousand.** epoll held and answered ${count(answered.estimate)} connections with ` +
    `${bytes(metrics.pss_bytes)} of memory and ${count(metrics.threads)} threads, those of the runtime included.`;
};

const threads: Headline = (evidence) => {
  const workers = evidence.held("thread-per-conn", BREAK_AT);
  const { answered, whole } = nativeThreads(evidence);
  return `**Threads are cheaper than their reputation.** ${count(answered)} POSIX threads took ` +
    `${bytes(whole.bytes.estimate)} ${whole.words}, not 80 GB; a Worker of Deno is an isolate, and ends at ` +
    `${count(workers.answered.estimate)}.`;
};

const rings: Headline = (evidence) => {
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

const heavy: Headline = (evidence) => {
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

const language: Headline = (evidence) => {
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

const capacities: Headline = (evidence) => {
  const { rows, slo } = evidence.sweep();
  const { sentences } = describeSweep(rows, slo, COLUMNS);
  return `**How much each bears.** ${sentences.at(-1)}`;
};

const HEADLINES: readonly Headline[] = [oneThread, readiness, threads, rings, heavy, language, capacities];

/** The headlines in Markdown; one whose figures are missing says which command measures them. */
export function headlines(stored: Stored): string[] {
  return HEADLINES.map((headline) => {
    try {
      return headline(new Evidence(stored, true));
    } catch (error) {
      if (error instanceof NotMeasured) return `Not measured yet: \`${error.command}\`.`;
      if (error instanceof NotTestable) return `Not available here: ${error.message}.`;
      throw error;
    }
  });
}
