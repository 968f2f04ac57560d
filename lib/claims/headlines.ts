/**
 * The headlines of README.md and of the report: one sentence each, with figures that are looked up.
 *
 * @module
 */
import { Evidence, NotMeasured } from "./evidence.ts";
import { nativeThreads } from "./about_threads.ts";
import { ABOUT, exactly, isTimes, quotient } from "./figure.ts";
import { atFullLoad, isAsCheap, isUnblocked } from "./parts.ts";
import { NotTestable } from "./ratio.ts";
import { C10K, SWEEP } from "../results/conventions.ts";
import type { Stored } from "../results/stored.ts";
import { describeSweep, isUnknown, sweptOf } from "../tables/sweep.ts";
import { bytes, count } from "../text/format.ts";
import type { Interval } from "../timing/stats.ts";

/** A sentence with a title in `**`. */
type Headline = (evidence: Evidence) => string;

/** A title that says what the figures say: yes, no, or neither of the two. */
const titled = (holds: boolean | null, yes: string, no: string, neither = no): string =>
  `**${holds === null ? neither : holds ? yes : no}.**`;

const COLUMNS = 80; // of a table that is not shown here
const WIDE = 10_000;
const NARROW = 10;
/** How many connections a server is asked for to see where it ends: the run that the tables show. */
const BREAK_AT = 20_000;
/** A call costs the same if it costs at most half as much again. */
const FLAT = 1.5;
/** The memory that texts name for a thread. */
const STACK_BYTES = 8e6;

/** A ratio with its interval. */
const inWords = ({ estimate, low, high }: Interval, digits: number): string =>
  `${count(estimate, digits)} [${count(low, digits)}, ${count(high, digits)}]`;

const readiness: Headline = (evidence) => {
  const select = evidence.call("select", WIDE).estimate / evidence.call("select", NARROW).estimate;
  const epoll = evidence.call("epoll_wait", WIDE).estimate / evidence.call("epoll_wait", NARROW).estimate;
  const cost = evidence.call("epoll_wait", WIDE).estimate;
  const title = titled(epoll <= FLAT, "epoll's cost does not grow", "epoll's cost grows");
  return `${title} From ${NARROW} to ${count(WIDE)} descriptors a call of select costs × ` +
    `${count(select)}, one of epoll_wait × ${count(epoll, 2)}: ${count(cost, 2)} µs.`;
};

const oneThread: Headline = (evidence) => {
  const { answered, metrics } = evidence.held("epoll");
  const title = titled(
    answered.estimate >= C10K,
    "One loop holds ten thousand",
    "One loop held fewer than ten thousand",
  );
  return `${title} epoll held and answered ${count(answered.estimate)} connections with ` +
    `${bytes(metrics.pss_bytes)} of memory and ${count(metrics.threads)} threads, those of the runtime included.`;
};

const threads: Headline = (evidence) => {
  const workers = evidence.held("thread-per-conn", BREAK_AT);
  const { answered, whole } = nativeThreads(evidence);
  const stacks = answered * STACK_BYTES;
  const isCheap = whole.bytes.estimate < stacks / ABOUT;
  const title = titled(
    isCheap,
    "Threads are cheaper than their reputation",
    "Threads cost as much as their reputation says",
  );
  const taken = `${count(answered)} POSIX threads took ${bytes(whole.bytes.estimate)} ${whole.words}`;
  return `${title} ${taken}, where as many stacks of 8 MB add up to ${
    count(stacks / 1e9)
  } GB; of Workers of Deno, which ` +
    `are isolates, ${count(workers.answered.estimate)} answered.`;
};

const rings: Headline = (evidence) => {
  const ratio = evidence.ratio({
    scenario: "throughput",
    metric: "cpu_us_per_request",
    connections: 100,
    of: "io-uring",
    to: "epoll",
  });
  const { holds, side } = isTimes(quotient(exactly(1), ratio), 2);
  const decided = ratio.limited && holds === false ? null : holds; // the load generator at its limit refutes no speed
  const no = `io_uring is ${side === "more" ? "more than" : "not"} twice as fast as epoll`;
  return `${titled(decided, "io_uring is twice as fast as epoll", no, "io_uring against epoll")} A request needs ` +
    `× ${inWords(ratio, 2)} the CPU${atFullLoad(ratio)}.`;
};

const heavy: Headline = (evidence) => {
  const ratio = evidence.ratio({
    scenario: "mixed",
    metric: "p99_us",
    connections: 100,
    of: "reactor-pool",
    to: "epoll",
  });
  const holds = isUnblocked(ratio);
  const no = "One heavy request does not make a loop deaf";
  return `${
    titled(holds, "One heavy request makes a loop deaf", no, "Heavy requests among light ones")
  } With one request ` +
    `of a hundred that burns CPU, the p99 of the light ones with workers is × ${inWords(ratio, 3)} of a single loop's.`;
};

const language: Headline = (evidence) => {
  const ratio = evidence.ratio({
    scenario: "throughput",
    metric: "cpu_us_per_request",
    connections: 100,
    of: "epoll",
    to: "c-epoll",
  });
  const holds = isAsCheap(ratio);
  const title = titled(
    holds,
    "TypeScript is about as cheap as C",
    "TypeScript costs more than C",
    "TypeScript against C",
  );
  return `${title} epoll in TypeScript needs × ${inWords(ratio, 2)} the CPU per request of the same loop in C` +
    `${atFullLoad(ratio)}.`;
};

const capacities: Headline = (evidence) => {
  const { rows, slo } = evidence.sweep();
  if (sweptOf(rows, slo).every(isUnknown)) throw new NotMeasured(SWEEP.command, `${SWEEP.command} --quick`);
  const { sentences } = describeSweep(rows, slo, COLUMNS);
  const quick = evidence.usedQuick ? " A quick look: `" + SWEEP.command + "` is the whole one." : "";
  return `**How much each bears.** ${sentences.at(-1)}${quick}`;
};

const HEADLINES: readonly Headline[] = [oneThread, readiness, threads, rings, heavy, language, capacities];

/** What the headline begins with whose figures are missing. */
export const UNMEASURED = "Not measured yet: ";

/** The headlines in Markdown, always in one order; one whose figures are missing says which command measures them. */
export function headlines(stored: Stored): string[] {
  return HEADLINES.map((headline) => {
    try {
      return headline(new Evidence(stored, true));
    } catch (error) {
      if (error instanceof NotMeasured) return `${UNMEASURED}\`${error.command}\`.`;
      if (error instanceof NotTestable) return `Not available here: ${error.message}.`;
      throw error;
    }
  });
}

/** A headline of a machine, and its title; `machine`: that it is of another one. */
export interface Told {
  title: string | null;
  text: string;
  machine: string | null;
}

/** The headlines of a machine; what only another one has, from there, with its name. */
export const toldWith = (
  own: readonly string[],
  others: readonly { machine: string; headlines: readonly string[] }[],
): Told[] =>
  own.map((line, i) => {
    const other = line.startsWith(UNMEASURED)
      ? others.find(({ headlines }) => !headlines[i]!.startsWith(UNMEASURED))
      : undefined;
    const [, title = null, text] = /^(?:\*\*(.*?)\*\* )?(.*)$/s.exec(other?.headlines[i] ?? line)!;
    return { title, text: text!, machine: other?.machine ?? null };
  });
