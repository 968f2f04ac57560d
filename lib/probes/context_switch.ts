/**
 * What it costs to switch from one thread to another: two threads that wait for each other in turn.
 *
 * A round trip is two switches and the system calls of both threads: each wakes the other and waits. What these calls cost
 * where nobody has to wait is measured apart and taken off. On one core what is left is the switch: CPU time of both
 * threads, so that time in which another process had the core is not in it. On two cores it is the time until the other one
 * has woken up, in which the first is free: no CPU time, but latency.
 *
 * @module
 */
import { planCores, readCpus } from "../sampling/cores.ts";
import { inTurn, linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import type { Turned, Turns } from "./context_switch_worker.ts";

const NAME = "context-switch";
const VARIANTS = [
  { variant: "pipe one-core", kind: "pipe", isAcross: false },
  { variant: "pipe two-cores", kind: "pipe", isAcross: true },
  { variant: "futex one-core", kind: "futex", isAcross: false },
  { variant: "futex two-cores", kind: "futex", isAcross: true },
] as const;
export const METRICS = ["round_trip_us", "system_calls_us", "switch_us"] as const;

const O_CLOEXEC = 0o2000000; // <asm-generic/fcntl.h>

/** Pipes for both directions, and a word of memory. */
function openMeans() {
  const libc = Deno.dlopen("libc.so.6", {
    pipe2: { parameters: ["buffer", "i32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
    calloc: { parameters: ["usize", "usize"], result: "pointer" },
    free: { parameters: ["pointer"], result: "void" },
  });
  const there = new Int32Array(2);
  const back = new Int32Array(2);
  for (const pipe of [there, back]) {
    if (libc.symbols.pipe2(pipe, O_CLOEXEC) < 0) throw new Error("Cannot make a pipe: there are too few descriptors");
  }
  const word = libc.symbols.calloc(1n, 64n); // a cache line of its own
  return {
    there,
    back,
    word: Deno.UnsafePointer.value(word),
    [Symbol.dispose]() {
      for (const fd of [...there, ...back]) libc.symbols.close(fd);
      libc.symbols.free(word);
      libc.close();
    },
  };
}

/** Runs one thread's turns. */
function turned(worker: Worker, turns: Turns): Promise<Turned> {
  const { promise, resolve, reject } = Promise.withResolvers<Turned>();
  worker.onmessage = ({ data }: MessageEvent<Turned>) => resolve(data);
  worker.onerror = (event) => {
    event.preventDefault(); // or this process would end
    reject(new Error(`A thread of ${NAME} failed: ${event.message}`));
  };
  worker.postMessage(turns);
  return promise;
}

/**
 * One run: a fresh pair of threads. If one fails the other does too: the pipes are closed, and the wait for the word has a
 * bound.
 */
async function pair(kind: Turns["kind"], cpus: readonly [number, number], rounds: number) {
  using means = openMeans();
  const { there, back, word } = means;
  const byCpuTime = cpus[0] === cpus[1];
  const common = { kind, rounds, warmup: rounds, word, byCpuTime };
  const worker = () => new Worker(new URL("./context_switch_worker.ts", import.meta.url).href, { type: "module" });
  const [first, second] = await Promise.all([
    turned(worker(), { ...common, begins: true, cpu: cpus[0], read: back[0]!, write: there[1]! }),
    turned(worker(), { ...common, begins: false, cpu: cpus[1], read: there[0]!, write: back[1]! }),
  ]);
  return { roundTripUs: byCpuTime ? first.turnUs + second.turnUs : first.turnUs, callsUs: first.callsUs };
}

/** Measures all variants. `rounds` round trips of each pair of threads are measured, after as many of warm-up. */
export const measureSwitches = (runs: number, rounds: number, plan: ProbePlan): Promise<ProbeRow[]> =>
  inTurn(VARIANTS, plan, ({ variant }) => variant, async ({ variant, kind, isAcross }) => {
    const { of, missing } = rowsOf(NAME, variant);
    const { server: [here], load: [there], shared, siblings } = planCores(readCpus());
    if (isAcross && (shared || siblings)) return missing(METRICS, "it needs two cores that this process may use");
    const cpus = [here!, isAcross ? there! : here!] as const;
    const found = [];
    for (let run = 0; run < runs; run++) {
      plan.signal.throwIfAborted();
      found.push(await pair(kind, cpus, rounds));
    }
    return [
      of("round_trip_us", found.map(({ roundTripUs }) => roundTripUs)),
      of("system_calls_us", found.map(({ callsUs }) => callsUs)),
      of("switch_us", found.map(({ roundTripUs, callsUs }) => roundTripUs / 2 - callsUs)),
    ];
  });

export const contextSwitch: Probe = {
  name: NAME,
  title: "Two threads that wait for each other: what a context switch costs",
  obstacle: linuxOnly,
  run: (plan) => plan.quick ? measureSwitches(3, 2000, plan) : measureSwitches(3 * RUNS, 4000, plan),
};
