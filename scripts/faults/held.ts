/**
 * Which connections the processes of a server still hold, as the kernel shows it.
 *
 * @module
 */
import { unlessGone } from "../../lib/sampling/process.ts";
import { readProc } from "../../lib/sampling/procfs.ts";

const LOCAL = 1; // words of a line of /proc/net/tcp
const REMOTE = 2;
const INODE = 9;
const IPV4_DIGITS = 8; // in /proc/net/tcp6 they stand behind those of ::ffff:0:0/96

/** An IPv4 address as the kernel prints it: one number in the order of the machine, and Deno runs on little-endian ones only. */
const hexOf = (address: string): string =>
  address.split(".").reverse().map((byte) => Number(byte).toString(16).toUpperCase().padStart(2, "0")).join("");

/**
 * Counts, in a table of /proc/net/tcp, the connections of a port whose peers have one of these addresses. One without an inode
 * counts not: no process holds it, whatever the kernel still has to send on it.
 */
export function heldIn(text: string, port: number, addresses: readonly string[]): number {
  const wanted = new Set(addresses.map(hexOf));
  return text.split("\n").slice(1).filter((line) => {
    const words = line.trim().split(/\s+/);
    const isOfPort = parseInt(words[LOCAL]?.split(":")[1] ?? "", 16) === port;
    const peer = words[REMOTE]?.split(":")[0]?.slice(-IPV4_DIGITS) ?? "";
    return isOfPort && wanted.has(peer) && words[INODE] !== "0";
  }).length;
}

/** The same in the network of the calling thread. A connection that the kernel has ended is not among them. */
export function heldFrom(port: number, addresses: readonly string[]): number {
  const tables = ["tcp", "tcp6"].map((table) => unlessGone(() => readProc(`/proc/thread-self/net/${table}`)) ?? "");
  return tables.reduce((sum, text) => sum + heldIn(text, port, addresses), 0);
}
