/**
 * How server and load stand to each other where the user says so: the cores of each, and the head of a request.
 *
 * @module
 */
import { UsageError } from "../cli/errors.ts";
import { type HeadName, HEADS } from "../load/generator.ts";
import type { Setup } from "../results/schema.ts";
import {
  chooseCores,
  corePair,
  type Cpu,
  cpuList,
  parseCpuList,
  planCores,
  planScaling,
  readCpus,
} from "../sampling/cores.ts";
import { isCustom, type Subject } from "../server/subject.ts";

/** The flags that name cores, and the one that names the head. */
export const CORE_FLAGS = ["server-cores", "load-cores"] as const;
export const SETUP_FLAGS = [...CORE_FLAGS, "head"] as const;
/** How they stand in a usage. */
export const CORE_USAGE = "[--server-cores 0,2-3] [--load-cores 1]";
export const HEAD_USAGE = `[--head ${HEADS.join("|")}]`;
export const SETUP_USAGE = `${CORE_USAGE} ${HEAD_USAGE}`;

export type SetupFlags = Partial<Record<typeof SETUP_FLAGS[number], string | undefined>>;

const CPU_LIST = /^\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*$/;

/** The logical processors that this process may use; none where the system does not tell. */
export const cpusHere = (): Cpu[] => Deno.build.os === "linux" ? readCpus() : [];

/** @throws {UsageError} If it is no list of cores. */
export function readList(name: string, text: string): number[] {
  const cpus = CPU_LIST.test(text) ? parseCpuListSafely(text) : [];
  if (cpus.length === 0) throw new UsageError(`--${name} ${text} is not a list of cores such as 0,2-3.`);
  return [...new Set(cpus)];
}

/** None where a range runs backwards. */
function parseCpuListSafely(text: string): number[] {
  const isBackwards = text.split(",").some((part) => {
    const [from, to = from] = part.split("-").map(Number);
    return to! < from!;
  });
  return isBackwards ? [] : parseCpuList(text);
}

/** @throws {UsageError} If there is no such head. */
function readHead(text: string): HeadName {
  const head = HEADS.find((name) => name === text);
  if (head === undefined) throw new UsageError(`--head ${text} is none of ${HEADS.join(", ")}.`);
  return head;
}

/**
 * What is named; none where that is the default plan, so that such a run stands beside those of the default.
 *
 * @throws {UsageError} If a core is not there, stands on both sides, or none is left for one of them.
 */
function readCores(server: string | undefined, load: string | undefined, cpus: readonly Cpu[]): Setup {
  if (server === undefined && load === undefined) return {};
  if (cpus.length === 0) {
    throw new UsageError("Cores can be named on Linux only: this system does not report its cores.");
  }
  const named = {
    ...(server !== undefined && { server: readList("server-cores", server) }),
    ...(load !== undefined && { load: readList("load-cores", load) }),
  };
  const both = named.server?.filter((core) => named.load?.includes(core)) ?? [];
  if (both.length > 0) {
    throw new UsageError(`--server-cores and --load-cores overlap: core ${cpuList(both)} is named for both.`);
  }
  try {
    const [plan, usual] = [chooseCores(cpus, named), planCores(cpus)].map(({ server, load }) => ({
      server_cores: cpuList(server),
      load_cores: cpuList(load),
    }));
    const isUsual = plan!.server_cores === usual!.server_cores && plan!.load_cores === usual!.load_cores;
    return isUsual ? {} : plan!;
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(`${error.message}.`);
    throw error;
  }
}

/**
 * Reads what the user named. What is not named is missing, so that it stays as it is by default.
 *
 * @throws {UsageError} If it cannot be had here.
 */
export function readSetup(flags: SetupFlags, cpus: readonly Cpu[] = cpusHere()): Setup {
  return {
    ...readCores(flags["server-cores"], flags["load-cores"], cpus),
    ...(flags.head !== undefined && { head: readHead(flags.head) }),
  };
}

/** The flags that name a setup again. */
export const setupFlags = ({ server_cores: server, load_cores: load, head }: Setup): string[] => [
  ...(server === undefined ? [] : ["--server-cores", server]),
  ...(load === undefined ? [] : ["--load-cores", load]),
  ...(head === undefined ? [] : ["--head", head]),
];

/** The part of parameters that is a setup. */
export const setupOf = ({ server_cores, load_cores, head }: Setup): Setup => ({
  ...(server_cores !== undefined && { server_cores }),
  ...(load_cores !== undefined && { load_cores }),
  ...(head !== undefined && { head }),
});

/**
 * The cores of both sides: those that are named, else half of the physical cores each. Null where they are not pinned, because
 * there is one core only, or the system does not tell them.
 */
export function coresOf(
  setup: Setup,
  cpus: readonly Cpu[] = cpusHere(),
): { server: number[]; load: number[] } | null {
  if (setup.server_cores !== undefined && setup.load_cores !== undefined) {
    return { server: parseCpuList(setup.server_cores), load: parseCpuList(setup.load_cores) };
  }
  if (cpus.length === 0) return null;
  const { server, load, shared } = planCores(cpus);
  return shared ? null : { server, load };
}

/** One core for each side, for what is to have one value on all machines; without cores where there is no pair of them. */
export function onePair(cpus: readonly Cpu[] = cpusHere()): Setup {
  const pair = corePair(cpus);
  return pair === null ? {} : { server_cores: String(pair.server), load_cores: String(pair.load) };
}

/**
 * The `--workers` of a server on so many cores: one for each, where its header says that it has as many as there are cores.
 * Others have a number of their own.
 */
export const workersOn = (subject: Subject, cores: number): string[] =>
  !isCustom(subject) && subject.workers?.endsWith(WORKERS_PER_CORE) ? ["--workers", String(cores)] : [];

/** How a header says it. */
const WORKERS_PER_CORE = "as many as there are cores";

/** How `deno task scaling` shares out the cores, in a sentence. */
export function describeScaling(cpus: readonly Cpu[] = cpusHere()): string {
  const plan = cpus.length === 0 ? null : planScaling(cpus, true);
  if (plan === null) return "deno task scaling needs two physical cores.";
  const sizes = plan.steps.map(({ length }) => length);
  const all = cpuList(plan.steps.at(-1)!);
  const load = plan.shared ? "the load runs on the same cores" : `the load runs on core ${cpuList(plan.load)}`;
  return `deno task scaling measures ${sizes.join(", ")} server cores of ${all}; ${load}.`;
}

/** The plan of this machine in one sentence, as `doctor` shows it. */
export function describeCores(cpus: readonly Cpu[] = cpusHere()): string {
  if (cpus.length === 0) return "Cores are not pinned: this system does not report them.";
  const all = cpuList(cpus.map(({ id }) => id));
  const { server, load, shared, siblings } = chooseCores(cpus);
  if (shared) return `Cores: ${all}. Server and load share it, so that each slows the other.`;
  const caveat = siblings ? " They are two hardware threads of one core, so that each slows the other." : "";
  const named = (cores: readonly number[]) => `core${cores.length === 1 ? "" : "s"} ${cpuList(cores)}`;
  return `Cores: ${all}. By default the server runs on ${named(server)} and the load on ${named(load)}; ` +
    `--server-cores and --load-cores name others.${caveat}`;
}
