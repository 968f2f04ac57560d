/**
 * What short programs do that are written as listings of servers often are: a pool, an echo server, answers, and clients.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { installLine, isInstalled } from "../../catalogue/tools.ts";
import { howEnded } from "../../server/launch.ts";
import { POOL_SIZE } from "../../results/conventions.ts";
import { inTurn, linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf } from "../probe.ts";

const NAME = "listings";
/** Always this one, which Debian and others install: a `python3` that is found first on the PATH may be any. */
const PYTHON = "/usr/bin/python3";
const PROGRAM = fileURLToPath(new URL("./listings.py", import.meta.url));

/** How it is measured. */
export interface ListingsExtent {
  /** The size of the pool, and how long one more than it has is waited for. */
  pool: { size: number; waitS: number };
  /** What a client sends to the echo server before it reads: what the buffers of the kernel hold, and more than that. */
  lateReader: { mebibytes: number[] };
  /** Requests of a client that keeps its connection, and how long it waits for each answer. */
  length: { requests: number; waitS: number };
  /** Clients at a time, and how long each sleeps in its connection. */
  sleep: { clients: number; pauseS: number };
  /** Runs of each program but that of the sleeping clients, whose time is known. */
  runs: number;
}

/** What the program prints. */
type Printed = Pick<ProbeRow, "variant" | "metric"> & { value: number };

interface Listing {
  program: string;
  numbers: number[];
  runs: number;
  note: string;
}

const listingsOf = ({ pool, lateReader, length, sleep, runs }: ListingsExtent): Listing[] => [
  {
    program: "pool",
    numbers: [pool.size, pool.waitS],
    runs,
    note: `${pool.size} of ${pool.size} are in use; one more is asked for, then all are given back`,
  },
  {
    program: "late-reader",
    numbers: lateReader.mebibytes,
    runs,
    note: "the client reads when it has sent all; lost: never sent back; right: up to the first wrong byte",
  },
  {
    program: "length",
    numbers: [length.requests, length.waitS],
    runs,
    note: `http.client of Python waits ${length.waitS} s for each answer`,
  },
  {
    program: "sleep",
    numbers: [sleep.clients, sleep.pauseS],
    runs: 1,
    note: `${sleep.clients} clients at a time; those that sleep do so for ${sleep.pauseS} s`,
  },
];

async function runOnce({ program, numbers }: Listing, signal: AbortSignal): Promise<Printed[]> {
  const args = ["-I", PROGRAM, program, ...numbers.map(String)];
  const { stdout, stderr, ...status } = await new Deno.Command(PYTHON, { args, stdin: "null", signal }).output();
  signal.throwIfAborted();
  const decoder = new TextDecoder();
  if (!status.success) {
    throw new Error(`The listing ${program} ended ${howEnded(status)}: ${decoder.decode(stderr).trim()}`);
  }
  return JSON.parse(decoder.decode(stdout));
}

async function measureListing(listing: Listing, { signal }: ProbePlan): Promise<ProbeRow[]> {
  const printed: Printed[] = [];
  for (let run = 0; run < listing.runs; run++) printed.push(...await runOnce(listing, signal));
  const byFigure = Map.groupBy(printed, ({ variant, metric }) => `${variant}\n${metric}`);
  return [...byFigure.values()].map((same) => {
    const { variant, metric } = same[0]!;
    return rowsOf(NAME, variant).of(metric, same.map(({ value }) => value), listing.note);
  });
}

/** Runs each program and counts what became of its clients. */
export const measureListings = (extent: ListingsExtent, plan: ProbePlan): Promise<ProbeRow[]> =>
  inTurn(listingsOf(extent), plan, ({ program }) => program, (listing) => measureListing(listing, plan));

/** Why they cannot run with this interpreter; null if they can. */
export async function listingsObstacle(python = PYTHON): Promise<string | null> {
  const system = linuxOnly();
  if (system !== null || await isInstalled(python)) return system;
  const tool = { command: python, package: "python3", reason: "runs the listings" };
  return `It needs ${python}: ${installLine([tool])}.`;
}

export const listings: Probe = {
  name: NAME,
  title: "Short programs with the faults of listings: a pool, an echo server, answers, clients",
  obstacle: () => listingsObstacle(),
  run: (plan) =>
    measureListings({
      pool: { size: POOL_SIZE, waitS: 1 },
      lateReader: { mebibytes: [1, 16] },
      length: { requests: 3, waitS: 0.5 },
      sleep: { clients: 100, pauseS: 10 },
      runs: plan.quick ? 1 : 3,
    }, plan),
};
