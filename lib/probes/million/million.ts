/**
 * The experiment io-uring-direct holds a million connections where a process may open 20 000 descriptors: as direct
 * descriptors, which stand in a table of an io_uring and not in that of the process. Each table is as large as the limit
 * allows, and a process may have as many rings as it likes. The client holds its ends by the same means.
 *
 * All connections are made and asked once, then rest, then are asked again: the second answers are those that count. Both
 * ends are on this machine, each in a process of one thread.
 *
 * @module
 */
import { delay } from "@std/async";
import { find, runsHere } from "../../catalogue/catalogue.ts";
import { bytes, count } from "../../text/format.ts";
import { DESCRIPTOR_RESERVE, Guard } from "../../run/guard.ts";
import { FAILED_SHARE, kernelSlope } from "../../run/hold.ts";
import { hostFacts } from "../../sampling/host.ts";
import { parseKb, parseLimits } from "../../sampling/proc_parse.ts";
import { readProc } from "../../sampling/procfs.ts";
import { kernelSocketBytes, type Sample, sample } from "../../sampling/sampler.ts";
import { experimentCommand, type Server, startServer } from "../../server/server.ts";
import { MillionChild } from "./child.ts";
import { MAX_RINGS } from "./protocol.ts";
import { linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf } from "../probe.ts";
import { CannotProbe, orMissing } from "../rig.ts";
import { MEMORY_SHARE } from "../../results/conventions.ts";

const NAME = "million";
const MILLION = 1_000_000;
export const METRICS = [
  "answered",
  "connected",
  "connect_seconds",
  "server_pss_bytes",
  "kernel_bytes_per_conn",
  "server_descriptors",
  "nofile_limit",
] as const;

const SERVER = "io-uring-direct";
/** Connections of one ring, so of one pair of addresses: connect(2) first tries half of its 28 000 ports, then it is slow. */
const SLOTS = 12_000;
const DESCRIPTORS_EACH = 2; // of a ring: itself and its eventfd
/** Of both ends, in the kernel: twice what the probe itself tells as `kernel_bytes_per_conn`, and some more. */
const CONNECTION_BYTES = 9 * 1024;

/** How it is measured. */
export interface Extent {
  /** Connections that are wanted: the variant is named after them. There are `rings` × `slots`, which may be more. */
  goal: number;
  rings: number;
  slots: number;
  /** So long the connections rest before they are asked again. */
  restMs: number;
  /** Limits of both processes in the words of prlimit(1). */
  prlimit?: string[];
}

/** A server, its client, and what has become of the climb. */
interface Run {
  server: Server;
  client: MillionChild;
  guard: Guard;
  start: Memory;
  /** Connections that were tried, also those that failed. */
  tried: number;
  connectSeconds: number;
}

/** Memory of the host. */
interface Memory {
  available: number;
  slab: number;
}

function memory(): Memory {
  const { MemAvailable = 0, Slab = 0 } = parseKb(readProc("/proc/meminfo"));
  return { available: MemAvailable, slab: Slab };
}

function look({ pid }: { pid: number }): Sample {
  const taken = sample(pid);
  if (taken === null) throw new Error("The server or the client has ended during the measurement");
  return taken;
}

/**
 * What the run has taken. MemAvailable counts a part of the slabs of sockets as if they could be had, so the rise of all
 * slabs with the processes' own memory is looked at too, and the larger of both is taken.
 */
function usedBytes({ server, client, start }: Run): number {
  const own = look(server).pss_bytes + look(client).pss_bytes;
  const now = memory();
  return Math.max(own + now.slab - start.slab, start.available - now.available);
}

/** What went wrong, as the client has counted it; null: nothing. */
function inWords({ client }: Run): string | null {
  const errors = Object.entries(client.state.errors).map(([name, times]) => `${name} (${count(times)} times)`);
  return errors.length === 0 ? null : errors.join(", ");
}

/** Makes connections up to `wanted` of `total`, as fast as the guard allows. Returns why it stopped. */
async function climb(run: Run, wanted: number, { rings, slots }: Extent, plan: ProbePlan): Promise<string | null> {
  const { client, guard } = run;
  const total = rings * slots;
  while (run.tried < wanted) {
    plan.signal.throwIfAborted();
    const step = guard.next(run.tried, total);
    if ("stop" in step) return step.stop;
    const connect = Math.min(step.connect, wanted - run.tried, slots); // so that it is looked at some times
    const start = performance.now();
    const { connected, failed } = await client.run({ connect });
    run.connectSeconds += (performance.now() - start) / 1000;
    run.tried += connect;
    guard.observe(run.tried, usedBytes(run));
    plan.onProgress(`${count(connected)} of ${count(total)} connections`);
    // Those that are still on their way after a long wait are neither connected nor failed.
    if (failed > FAILED_SHARE * run.tried || connected + failed < (1 - FAILED_SHARE) * run.tried) {
      return `stopped at ${count(connected)} of ${count(total)}: ${inWords(run)}`;
    }
  }
  return null;
}

/** Makes all connections, asks them, lets them rest, and asks them again. */
async function measure(run: Run, extent: Extent, plan: ProbePlan) {
  const { server, client } = run;
  const total = extent.rings * extent.slots;
  let stopped = await climb(run, Math.ceil(total / 10), extent, plan);
  await client.run({ ask: true });
  const low = { held: client.state.connected, kernel: kernelSocketBytes() };
  stopped ??= await climb(run, total, extent, plan);
  plan.onProgress(`${count(client.state.connected)} connections are asked`);
  await client.run({ ask: true });
  const held = client.state.connected;
  const kernel = kernelSocketBytes();
  const { pss_bytes, descriptors } = look(server);
  await delay(extent.restMs, { signal: plan.signal });
  const { answered, connected } = await client.run({ ask: true });
  const each = kernelSlope(low.kernel, kernel, held - low.held);
  const limit = parseLimits(readProc(`/proc/${server.pid}/limits`)).nofileSoft;
  return { answered, connected, stopped, pss_bytes, descriptors, each, limit };
}

/** Why so many connections cannot be tried here; null if they can. */
function tooMuch({ goal, rings, slots }: Extent): string | null {
  const limit = hostFacts().limits.nofile_hard ?? Infinity;
  const { available } = Deno.systemMemoryInfo();
  if (rings > MAX_RINGS || rings * DESCRIPTORS_EACH + DESCRIPTOR_RESERVE > limit) {
    return `a ring may have ${count(slots)} connections here, and ${count(goal)} would take ${count(rings)} rings`;
  }
  const wanted = rings * slots * CONNECTION_BYTES;
  if (wanted <= MEMORY_SHARE * available) return null;
  return `${count(goal)} connections would take ${bytes(wanted)}; of the ${bytes(available)} that are available ` +
    `${MEMORY_SHARE * 100} % may be used`;
}

/** One run with a fresh server and a fresh client. */
export function measureMillion(extent: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  const { goal, rings, slots, prlimit = [] } = extent;
  const rows = rowsOf(NAME, `io_uring ${goal}`);
  return orMissing([rows], METRICS, plan, async () => {
    const reason = tooMuch(extent);
    if (reason !== null) throw new CannotProbe(reason);
    const start = memory();
    const options = { prlimit, signal: plan.signal };
    // Each ring of the client connects to an address of its own: one address has too few ports for all.
    const args = ["--host", "0.0.0.0", "--connections", String(rings * slots)];
    await using server = await startServer(experimentCommand(find(SERVER), args), options);
    await using client = await MillionChild.start({ rings, slots, port: server.port }, options);
    const guard = new Guard({ memAvailableBytes: start.available, descriptorLimit: Infinity });
    const run = { server, client, guard, start, tried: 0, connectSeconds: 0 };
    guard.observe(0, usedBytes(run)); // so that what the processes take anyway is not taken for that of a connection
    const found = await measure(run, extent, plan);
    const made = `${SERVER}; the client has ${count(rings)} rings with ${count(slots)} connections each`;
    const note = [made, found.stopped ?? inWords(run)].filter((part) => part !== null).join("; ");
    return [
      rows.of("answered", [found.answered], note),
      rows.of("connected", [found.connected], note),
      rows.of("connect_seconds", [run.connectSeconds]),
      rows.of("server_pss_bytes", [found.pss_bytes]),
      rows.of("kernel_bytes_per_conn", [found.each], found.each === null ? "too few to stand out" : null),
      rows.of("server_descriptors", [found.descriptors]),
      rows.of("nofile_limit", [found.limit]),
    ];
  });
}

/** As many rings as it takes, with tables as large as ports and the limit of descriptors allow. */
function extentOf(goal: number): Extent {
  const slots = Math.min(SLOTS, hostFacts().limits.nofile_hard ?? Infinity);
  return { goal, rings: Math.ceil(goal / slots), slots, restMs: 10_000 };
}

/** Why this system has no such rings; null if it has. */
function noRings(): string | null {
  const here = runsHere(find(SERVER));
  if (!here.runs) return here.reason;
  const { io_uring } = hostFacts();
  return io_uring === "available" ? null : `It needs io_uring, which io_uring_setup(2) refuses with ${io_uring}.`;
}

export const million: Probe = {
  name: NAME,
  title: "A million connections: descriptors that no process opens",
  obstacle: () => linuxOnly() ?? noRings(),
  run: (plan) =>
    measureMillion(plan.quick ? { goal: 2000, rings: 2, slots: 1000, restMs: 0 } : extentOf(MILLION), plan),
};
