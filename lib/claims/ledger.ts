/**
 * The ledger: what two texts on the C10K problem (T and C) claim, and what the figures of this machine say of it.
 *
 * @example
 * ```ts
 * const { stored } = await readStored();
 * for (const claim of LEDGER) console.log(claim.id, judgeClaim(claim, stored).row.verdict);
 * ```
 *
 * @module
 */
import type { Stored } from "../results/stored.ts";
import { type Claim, type Judgement, notTestable, type Verdict } from "./claim.ts";
import { ADVICE } from "./about_choosing.ts";
import { Evidence, NotMeasured } from "./evidence.ts";
import { PRACTICE } from "./about_tuning.ts";
import { LISTINGS } from "./about_listings.ts";
import { PROCESS_CLAIMS } from "./about_processes.ts";
import { NotTestable } from "./ratio.ts";
import { PUSHES } from "./about_push.ts";
import { READINESS } from "./about_readiness.ts";
import { RINGS } from "./about_io_uring.ts";
import { RUNTIMES } from "./about_runtimes.ts";
import { THREADS } from "./about_threads.ts";

/** The order of the texts. */
const ORDER = [
  ..."stack switch sched select poll epoll kqueue latency c10k reactor-pool multi-reactor guide realtime uring xdp"
    .split(" ").map((name) => `T-${name}`),
  ..."80gb process thread-2000 idle-cpu bandwidth prefork-100 pool-100 100x asyncio nginx node goroutine tokio uring-2x uring-fanout"
    .split(" ").map((name) => `C-${name}`),
  ..."c10m c1m websocket tuning nodelay pooling metrics nio netty iocp dont".split(" ").map((name) => `C-${name}`),
  ..."proxy-40k beam pool-deadlock listing-select listing-length listing-sleep dont-default".split(" ").map((name) =>
    `C-${name}`
  ),
];

/** Every claim, those of T first, in the order in which the texts make them; at the end those of C that its listings make. */
export const LEDGER: readonly Claim[] = [
  THREADS,
  READINESS,
  ADVICE,
  RINGS,
  PUSHES,
  PROCESS_CLAIMS,
  RUNTIMES,
  PRACTICE,
  LISTINGS,
].flat()
  .toSorted((a, b) => ORDER.indexOf(a.id) - ORDER.indexOf(b.id));

/** What became of a claim on this machine. */
export interface Judged extends Omit<Judgement, "verdict"> {
  id: string;
  claim: Claim["claim"];
  section: string;
  tried: string;
  rule: string;
  sceptic: string;
  verdict: Verdict;
  /** Whether a figure of a quick run is among those of the verdict. */
  quick: boolean;
  /** The files that the figures are from. */
  results: string[];
  /** The machines that they were measured on. */
  hosts: string[];
  /** What repeats them, or makes what is missing. */
  commands: string[];
}

/** A claim with its verdict; and, where a figure is missing, the commands that make it, whole and quick. */
export interface Answer {
  row: Judged;
  missing: { command: string; quick: string } | null;
}

/**
 * Judges one claim by what is stored.
 *
 * @param allowQuick Quick figures may stand in where there is no whole one.
 */
export function judgeClaim(claim: Claim, stored: Stored, allowQuick = false): Answer {
  const evidence = new Evidence(stored, allowQuick);
  const { id, claim: words, section, tried, rule, sceptic } = claim;
  const about = { id, claim: words, section, tried, rule, sceptic };
  try {
    const judgement = claim.judge(evidence);
    const { usedQuick: quick, paths, hosts, commands } = evidence;
    const from = { quick, results: [...paths], hosts: [...hosts], commands: [...commands] };
    return { row: { ...about, ...judgement, ...from }, missing: null };
  } catch (error) {
    if (error instanceof NotTestable) {
      const judgement = notTestable(`${error.message.replace(/\.$/, "")}.`);
      return { row: { ...about, ...judgement, quick: false, results: [], hosts: [], commands: [] }, missing: null };
    }
    if (!(error instanceof NotMeasured)) throw error;
    const { command, quick } = error;
    const nothing = { ...notTestable(`${error.message}.`), verdict: "not measured yet" } as const;
    const row = { ...about, ...nothing, quick: false, results: [], hosts: [], commands: [command] };
    return { row, missing: { command, quick } };
  }
}

/** All claims with their verdicts, by what is stored of one machine; quick figures stand in where there are no whole ones. */
export const judgeAll = (stored: Stored): Judged[] => LEDGER.map((claim) => judgeClaim(claim, stored, true).row);
