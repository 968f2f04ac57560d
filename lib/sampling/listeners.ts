/**
 * Which sockets of this host listen, and which processes have them open: a server is measured at its own socket, or it is
 * said that the socket is another's.
 *
 * @module
 */
import { readableStats, unlessGone } from "./process.ts";
import { linkProc, listProc, readProc } from "./procfs.ts";

/** A socket that takes connections. `host` is as it is written in a URL without brackets: `0.0.0.0`, `::1`. */
export interface Listener {
  host: string;
  port: number;
  inode: string;
}

const LISTEN = "0A"; // TCP_LISTEN, <net/tcp_states.h>
const BYTES_OF_WORD = 8; // hexadecimal digits of 32 bits

/** An address of /proc/net/tcp: words of 32 bits in the byte order of the host, which is little-endian wherever Deno runs. */
function parseAddress(hex: string): string {
  const bytes: number[] = [];
  for (let at = 0; at < hex.length; at += BYTES_OF_WORD) {
    const word = parseInt(hex.slice(at, at + BYTES_OF_WORD), 16);
    bytes.push(word & 255, word >>> 8 & 255, word >>> 16 & 255, word >>> 24);
  }
  if (bytes.length === 4) return bytes.join(".");
  const isMapped = bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255;
  if (isMapped) return bytes.slice(12).join(".");
  const groups = Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! << 8 | bytes[2 * i + 1]!).toString(16));
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1); // with `::` for its zeros
}

/** The listening sockets in a text of /proc/net/tcp or tcp6. */
export function parseListeners(text: string): Listener[] {
  const found: Listener[] = [];
  for (const line of text.split("\n").slice(1)) {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
    if (state !== LISTEN) continue;
    const [address, port] = local!.split(":");
    found.push({ host: parseAddress(address!), port: parseInt(port!, 16), inode: inode! });
  }
  return found;
}

/**
 * The listening TCP sockets of this network namespace. Null on a system without /proc, or where there are so many sockets
 * that the table is too long to be read.
 */
export function listeners(): Listener[] | null {
  if (Deno.build.os !== "linux") return null;
  try {
    const texts = ["/proc/net/tcp", "/proc/net/tcp6"].map((path) => unlessGone(() => readProc(path)) ?? "");
    return texts.flatMap(parseListeners);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

const ACCEPTS = 0x10000; // __SO_ACCEPTCON, <linux/net.h>

/** The listening Unix sockets in a text of /proc/net/unix: the path of each, by its inode. Abstract names begin with `@`. */
export function parseUnixListeners(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of text.split("\n").slice(1)) {
    const [, , , flags, , , inode, path = "(no name)"] = line.trim().split(/\s+/);
    if (inode !== undefined && (parseInt(flags!, 16) & ACCEPTS) !== 0) found.set(inode, path);
  }
  return found;
}

/** The paths of the Unix sockets on which processes listen; none where that cannot be seen. */
export function unixListenersOf(pids: readonly number[]): string[] {
  const all = parseUnixListeners(unlessGone(() => readProc("/proc/net/unix")) ?? "");
  const own = pids.flatMap((pid) => [...socketsOf(pid) ?? []]);
  return own.map((inode) => all.get(inode)).filter((path) => path !== undefined);
}

/** The inodes of the sockets that a process has open; null where this user may not see them, or it has ended. */
function socketsOf(pid: number): Set<string> | null {
  const sockets = new Set<string>();
  try {
    for (const fd of listProc(`/proc/${pid}/fd`)) {
      const inode = /^socket:\[(\d+)\]$/.exec(unlessGone(() => linkProc(`/proc/${pid}/fd/${fd}`)) ?? "")?.[1];
      if (inode !== undefined) sockets.add(inode);
    }
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) return null;
    throw error;
  }
  return sockets;
}

/** The listening sockets that processes have open; null where those of one of them cannot be seen. */
export function listenersOf(pids: readonly number[], all: readonly Listener[]): Listener[] | null {
  const own = new Set<string>();
  for (const pid of pids) {
    const sockets = socketsOf(pid);
    if (sockets === null && unlessGone(() => readProc(`/proc/${pid}/stat`)) !== null) return null;
    for (const inode of sockets ?? []) own.add(inode);
  }
  return all.filter(({ inode }) => own.has(inode));
}

/** The process that has a socket open, as `4711 (nginx)`; null where none can be seen. */
export function ownerOf({ inode }: Listener): string | null {
  const owner = readableStats(listProc("/proc"), readProc).find(({ pid }) => socketsOf(pid)?.has(inode));
  return owner === undefined ? null : `${owner.pid} (${owner.comm})`;
}
