/**
 * A control group for the processes of one server: a limit that the server did not choose, and that goes with the group.
 *
 * Pages that a process has already stay charged to the group it comes from. So a limit of memory here is what the server may
 * take beside what it has, the same for each runtime.
 *
 * @module
 */
import { delay } from "@std/async";
import { listProc, readProc } from "../../lib/sampling/procfs.ts";
import { unlessGone } from "../../lib/sampling/process.ts";
import { CannotDo } from "./fault.ts";
import { makeKernelFolder, removeKernelFolder, writeKernelFile } from "./kernel.ts";

type Controller = "memory" | "pids";

const ROOT = "/sys/fs/cgroup";
const PREFIX = "c10k-faults-";
/** The files of a limit, of version 1 and 2. */
const LIMIT: Record<Controller, { v1: string; v2: string }> = {
  memory: { v1: "memory.limit_in_bytes", v2: "memory.max" },
  pids: { v1: "pids.max", v2: "pids.max" },
};
/** The files that keep it from swapping beyond that, which would make no limit of it. Only a kernel that can swap has them. */
const SWAP: Partial<Record<Controller, { v1: string; v2: string; v2Value: number }>> = {
  memory: { v1: "memory.memsw.limit_in_bytes", v2: "memory.swap.max", v2Value: 0 }, // v1: memory and swap together
};
/** A group is empty once its processes are buried, which their parents do. */
const MAX_TRIES = 100;
const TRY_MS = 20;

let made = 0;

/** The folder of a process's group, and the version. */
function groupOf(pid: number, controller: Controller): { folder: string; version: 1 | 2 } {
  const lines = readProc(`/proc/${pid}/cgroup`).trim().split("\n").map((line) => line.split(":"));
  const old = lines.find(([, names]) => names!.split(",").includes(controller));
  if (old !== undefined) return { folder: `${ROOT}/${controller}${old[2]}`, version: 1 };
  const unified = lines.find(([, names]) => names === "")?.[2];
  if (unified === undefined) throw new CannotDo(`there is no control group of ${controller}`);
  return { folder: `${ROOT}${unified}`, version: 2 };
}

/** Where a group with this controller can be made: in version 2 a parent must hand the controller down. */
function parentFor(folder: string, version: 1 | 2, controller: Controller): string {
  if (version === 1) return folder;
  for (let parent = folder; parent.length >= ROOT.length; parent = parent.slice(0, parent.lastIndexOf("/"))) {
    const handed = unlessGone(() => readProc(`${parent}/cgroup.subtree_control`)) ?? "";
    if (handed.trim().split(/\s+/).includes(controller)) return parent;
  }
  throw new CannotDo(`no control group here hands ${controller} down`);
}

const STATE = 0; // words of /proc/PID/stat behind the name of the program
const START_TIME = 19;

/** When a process was started: with that its id names no other one. Null: it has ended. */
function startOf(pid: number): string | null {
  const stat = unlessGone(() => readProc(`/proc/${pid}/stat`));
  const words = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  return words === undefined || words[STATE] === "Z" ? null : words[START_TIME]!;
}

/** Moves the processes of a group into another. ESRCH: one has ended meanwhile. */
function moveAll(from: string, to: string): void {
  const living = (unlessGone(() => readProc(`${from}/cgroup.procs`)) ?? "").trim().split("\n");
  for (const pid of living) if (pid !== "") writeKernelFile(`${to}/cgroup.procs`, pid);
}

/** Removes what killed runs have left: the names say whose it was. A server that outlives its run loses the limit. */
function sweep(parent: string): void {
  for (const name of unlessGone(() => listProc(parent)) ?? []) {
    const [owner, start] = name.slice(PREFIX.length).split("-");
    if (!name.startsWith(PREFIX) || startOf(Number(owner)) === start) continue;
    moveAll(`${parent}/${name}`, parent);
    removeKernelFolder(`${parent}/${name}`); // if it cannot be removed, a process still lives in it
  }
}

const { NotFound, PermissionDenied } = Deno.errors;
const LEFT = new RegExp(`/${PREFIX}[^/]*$`); // a server that outlives a killed run is still in its group

/** Removes the groups that killed runs have left, where those of these processes are. */
export function sweepControlGroups(pids: readonly number[]): void {
  for (const pid of pids) {
    for (const controller of ["memory", "pids"] as const) {
      try {
        const { folder, version } = groupOf(pid, controller);
        sweep(parentFor(folder.replace(LEFT, ""), version, controller));
      } catch (error) {
        // There are no such groups, or no such process, or it is somebody else's.
        if (![CannotDo, NotFound, PermissionDenied].some((kind) => error instanceof kind)) throw error;
      }
    }
  }
}

/** A group with a limit, and the processes of a server in it. Disposing of it puts those that live back. */
export class ControlGroup implements AsyncDisposable {
  private constructor(readonly folder: string, readonly home: string, readonly controller: Controller) {}

  /**
   * Makes one, and moves the processes of a server into it.
   *
   * @throws {CannotDo} If this user may not, or the system has no such groups.
   */
  static make(pids: readonly number[], controller: Controller): ControlGroup {
    const { folder: home, version } = groupOf(pids[0]!, controller);
    const parent = parentFor(home, version, controller);
    sweep(parent);
    const folder = `${parent}/${PREFIX}${Deno.pid}-${startOf(Deno.pid)}-${crypto.randomUUID().slice(0, 8)}-${made++}`;
    const wrong = makeKernelFolder(folder);
    if (wrong !== null) throw new CannotDo(`no control group can be made: ${wrong}`);
    const group = new ControlGroup(folder, home, controller);
    for (const pid of pids) {
      const refused = writeKernelFile(`${folder}/cgroup.procs`, String(pid));
      if (refused === null || refused === "ESRCH") continue;
      moveAll(folder, home);
      removeKernelFolder(folder);
      throw new CannotDo(`process ${pid} cannot be moved into a control group: ${refused}`);
    }
    return group;
  }

  /** Sets the limit. */
  limit(value: number): void {
    const { v1, v2 } = LIMIT[this.controller];
    const files = listProc(this.folder);
    const isOld = files.includes(v1);
    this.#set(isOld ? v1 : v2, value);
    const swap = SWAP[this.controller];
    if (swap === undefined || !files.includes(isOld ? swap.v1 : swap.v2)) return;
    this.#set(isOld ? swap.v1 : swap.v2, isOld ? value : swap.v2Value); // behind the limit, which may not be above it
  }

  #set(file: string, value: number): void {
    const wrong = writeKernelFile(`${this.folder}/${file}`, String(value));
    if (wrong !== null) throw new CannotDo(`the limit of ${this.controller} cannot be set: ${file}: ${wrong}`);
  }

  /** Processes and threads in it. */
  tasks(): number {
    return Number(readProc(`${this.folder}/pids.current`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      moveAll(this.folder, this.home);
      if (removeKernelFolder(this.folder) === null) return;
      await delay(TRY_MS);
    }
    throw new Error(`The control group ${this.folder} cannot be removed.`);
  }
}
