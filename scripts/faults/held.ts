/**
 * The connections of a server with its clients, and which of them its processes still hold, as the kernel shows it.
 *
 * @module
 */
import { unlessGone } from "../../lib/sampling/process.ts";
import { filterProcLines } from "../../lib/sampling/procfs.ts";

const LOCAL = 1; // words of a line of /proc/net/tcp
const REMOTE = 2;
const STATE = 3;
const INODE = 9;
const ESTABLISHED = "01"; // <linux/tcp_states.h>
const NO_PROCESS = "0"; // in the place of an inode: none has accepted it yet, or each has closed it
const IPV4_DIGITS = 8; // in /proc/net/tcp6 they stand behind those of ::ffff:0:0/96

/** The server's end of a connection. */
export interface ServerEnd {
  /** The address of the client as the kernel prints it, and its port. */
  client: string;
  clientPort: number;
  isEstablished: boolean;
  /** Of its socket; null: no process holds it, whatever the kernel still has to send on it. */
  inode: string | null;
}

const portOf = (word: string | undefined) => parseInt(word?.split(":")[1] ?? "", 16);

const wordsOf = (line: string) => line.trim().split(/\s+/);

/**
 * The ends at a port, of lines of /proc/net/tcp or tcp6. The kernel makes them a page at a time: where sockets come and go
 * meanwhile, one may be there twice.
 */
function endsIn(lines: readonly string[], port: number): ServerEnd[] {
  const rows = lines.map(wordsOf).filter((words) => portOf(words[LOCAL]) === port);
  const own = new Map(rows.map((words) => [words[REMOTE]!, words]));
  return [...own].map(([remote, words]) => ({
    client: remote.split(":")[0]!.slice(-IPV4_DIGITS),
    clientPort: portOf(remote),
    isEstablished: words[STATE] === ESTABLISHED,
    inode: words[INODE] === NO_PROCESS ? null : words[INODE]!,
  }));
}

/** The ends at a port in the network of a process. A connection that the kernel has ended is not among them. */
export function serverEnds(process: number | "thread-self", port: number): ServerEnd[] {
  const printed = `:${port.toString(16).toUpperCase().padStart(4, "0")} `; // at either end: a client may have the same port
  const tables = ["tcp", "tcp6"].map((table) =>
    unlessGone(() => filterProcLines(`/proc/${process}/net/${table}`, (line) => line.includes(printed))) ?? []
  );
  return tables.flatMap((lines) => endsIn(lines, port));
}

/** An IPv4 address as the kernel prints it: one number in the order of the machine, and Deno runs on little-endian ones only. */
const hexOf = (address: string): string =>
  address.split(".").reverse().map((byte) => Number(byte).toString(16).toUpperCase().padStart(2, "0")).join("");

/** How many ends a process holds whose clients have one of these addresses. */
function countHeld(ends: readonly ServerEnd[], addresses: readonly string[]): number {
  const wanted = new Set(addresses.map(hexOf));
  return ends.filter(({ client, inode }) => inode !== null && wanted.has(client)).length;
}

/** Counts, in a text of /proc/net/tcp or tcp6, the connections at a port that are held for clients of these addresses. */
export const heldIn = (text: string, port: number, addresses: readonly string[]): number =>
  countHeld(endsIn(text.split("\n"), port), addresses);

/** The same in the network of the calling thread. */
export const heldFrom = (port: number, addresses: readonly string[]): number =>
  countHeld(serverEnds("thread-self", port), addresses);
