/**
 * What a fault is, and what it is done to.
 *
 * @module
 */

/** The server under a fault. */
export interface Target {
  port: number;
  /** The root of its processes; null where it is not known. */
  pid: number | null;
  /** The process that was started: a launcher, below which others than those of `pid` may stand; default: `pid`. */
  leader?: number | null;
  /** Of all that is random. */
  seed: number;
  /** Sends a signal to the leader of the server; null where it is not this process's child. */
  terminate: (() => Promise<number>) | null;
  /** How many connections it can serve at once, beside the normal clients; default: any number. */
  room?: number;
  /** It keeps the contract of the experiments, its time limits for example; default: yes. */
  keepsContract?: boolean;
  /** What of the contract its header says that it cannot, by ability; default: nothing. */
  cannot?: Readonly<Record<string, string>>;
  /** The folder that TMPDIR names to the server, on a small disk of its own. */
  disk?: string;
  /** What stands before its libc. */
  preload?: Preload;
  /** Has it print a line of its counts; missing where it has none. */
  showStats?: () => Promise<unknown>;
}

/** What is counted of the processes of a server that something stands before the libc of. */
export type Counted = "clockCalls" | "interrupted" | "refused";

/** Errors that calls of a server fail with: EINTR, or of accept the error of a connection. */
export interface Injection {
  kind: "interrupted" | "refused";
  /** Of the server: errors are those of its sockets. */
  port: number;
  /** Of the calls, that fail. */
  share: number;
  seed: number;
}

/** What stands before the libc of one server. */
export interface Preload {
  /** Makes its wall clock wrong by so many seconds. */
  step(seconds: number): void;
  /** Has calls fail until what is returned is disposed of. */
  inject(injection: Injection): Disposable;
  /** Has each of its processes move stdout and stderr to a file, at its next call. */
  moveOutput(): void;
  /** What was counted so far, by process. One that has ended may have left its place to another. */
  counts(of: Counted): Map<number, number>;
}

/** What the clients of a fault saw: answers that they were owed, and those that came. */
export interface Seen {
  owed: number;
  came: number;
  /** What the server keeps for the clients of the fault while these are there; null: it is not known. */
  heldBytes?: number | null;
  /** In what ways it ended for them, and how often. */
  outcomes?: string;
  /** The exit code, where the fault ends the server. */
  exitCode?: number;
  /** So many requests of normal clients were under way in a process that the fault has ended: they are owed nothing. */
  mayLose?: number;
}

/** A fault cannot be done to this server by this user: its cell is skipped with the reason. */
export class CannotDo extends Error {
  override readonly name = "CannotDo";
}

/**
 * What a cell needs around it, made in the thread of the cell alone: a network of its own, a small disk under TMPDIR,
 * functions before those of libc, or a filter that refuses io_uring.
 */
export type Ground = "network" | "disk" | "preload" | "no-io-uring";

/** One fault. */
export interface Fault {
  id: string;
  says: string;
  run(target: Target): Promise<Seen>;
  /** It needs the process of the server, and changes what it does there. */
  needsPid?: true;
  /** It stops the processes of the server where they are known, and does something else where they are not. */
  mayStop?: true;
  /** What has to be around the server from its start: a server that runs already cannot have it. */
  ground?: Ground;
  /** What `@cannot` may name as the reason. */
  abilities: readonly string[];
  /**
   * Those of them that a server may lack and survive all the same: less is demanded of it, or the fault shows less than the
   * ability says. That one survives contradicts no header.
   */
  loose?: readonly string[];
  /**
   * Those of them whose lack shows in some runs and not in others: by the speed of the machine, or by what a runtime needs just
   * then. A server whose header says that it lacks one is never said to survive: the next run may end otherwise.
   */
  byChance?: readonly string[];
  /** The server cannot answer meanwhile: the latency during the fault is not judged. */
  stalls?: true;
  /** It ends the server. */
  ends?: true;
  /** It leaves the server nothing to do: one that takes CPU for it spins. */
  isQuiet?: true;
  /** It waits nearly all of its time: it has lanes of its own, so that other cells need not wait for it. */
  isIdle?: true;
  /** What the contract lets a server take under it: its allocator may keep that, beyond what is judged anyway. */
  mayKeepBytes?: number;
  /** It takes all cores, so nothing else may be measured meanwhile. */
  isHeavy?: true;
  /** How long it takes, in seconds: a first estimate of the remaining time. */
  seconds: number;
}

/** Whether an interrupt has to wait for it: it takes back at its end what it has done to the processes of a server. */
export const takesBack = ({ needsPid, mayStop }: Pick<Fault, "needsPid" | "mayStop">): boolean =>
  needsPid === true || mayStop === true;

export const REQUEST = "GET / HTTP/1.1\r\nHost: lab\r\n\r\n";
export const FAULT_MS = 1000; // how long a fault that only holds something holds it
export const PATIENCE_MS = 10_000;
export const CROWD = 50;
export const NONE: Seen = { owed: 0, came: 0 };
/** Clients that ask on connections of their own once a fault is over. */
export const FRESH = 20;
