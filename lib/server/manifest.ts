/**
 * What two servers must have in common for a comparison of them to be fair: looked up in the running process where that
 * can be, taken from the experiment's header where not.
 *
 * @module
 */
import { processTree, unlessGone } from "../sampling/process.ts";
import { listProc, readProc } from "../sampling/procfs.ts";
import { sample } from "../sampling/sampler.ts";
import { isCustom, type Running, runtimeOf, type Subject } from "./subject.ts";
import type { Manifest } from "../results/schema.ts";

const SYS_pidfd_open = 434;
const SYS_pidfd_getfd = 438; // <asm-generic/unistd.h>: Linux 5.3 and 5.6; one number everywhere
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_ACCEPTCONN = 30;
const SO_PROTOCOL = 38; // <asm-generic/socket.h>
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_INFO = 11; // <netinet/tcp.h>
const TCP_ESTABLISHED = 1; // the first byte of struct tcp_info; a socket that is only bound is no connection
const TCPI_SACKED = 7; // struct tcp_info in words: of a listening socket it is the backlog (tcp_diag.c)
const MAX_DESCRIPTORS = 256; // of a process that are looked at: listeners and the first connections are among them

type Sockets = Pick<Manifest, "backlog" | "nodelay" | "send_buffer_bytes" | "receive_buffer_bytes">;

const NO_SOCKETS: Sockets = { backlog: null, nodelay: null, send_buffer_bytes: null, receive_buffer_bytes: null };

const openLibc = () =>
  Deno.dlopen("libc.so.6", {
    syscall: { parameters: ["i32", "i32", "i32", "i32"], result: "i32" },
    getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
  });

/** Looks at the TCP sockets of a process, by a duplicate of each descriptor: pidfd_getfd(2). */
function lookAtSockets(pids: number[]): Sockets {
  const found = { ...NO_SOCKETS };
  const libc = openLibc();
  const { syscall, getsockopt, close } = libc.symbols;
  const value = new Int32Array(64);
  const option = (fd: number, level: number, name: number, word = 0) =>
    getsockopt(fd, level, name, value, new Int32Array([value.byteLength])) < 0 ? null : value[word]!;
  const look = (fd: number) => {
    if (option(fd, SOL_SOCKET, SO_PROTOCOL) !== IPPROTO_TCP) return;
    if (option(fd, SOL_SOCKET, SO_ACCEPTCONN) === 1) found.backlog ??= option(fd, IPPROTO_TCP, TCP_INFO, TCPI_SACKED);
    else if (found.nodelay === null && (option(fd, IPPROTO_TCP, TCP_INFO) ?? 0) % 256 === TCP_ESTABLISHED) {
      found.nodelay = option(fd, IPPROTO_TCP, TCP_NODELAY) !== 0;
      found.send_buffer_bytes = option(fd, SOL_SOCKET, SO_SNDBUF);
      found.receive_buffer_bytes = option(fd, SOL_SOCKET, SO_RCVBUF);
    }
  };
  for (const pid of pids) {
    const pidfd = syscall(SYS_pidfd_open, pid, 0, 0);
    if (pidfd < 0) continue; // it has ended, or the kernel is older
    for (const name of unlessGone(() => listProc(`/proc/${pid}/fd`))?.slice(0, MAX_DESCRIPTORS) ?? []) {
      const fd = syscall(SYS_pidfd_getfd, pidfd, Number(name), 0);
      if (fd < 0) continue; // closed meanwhile, or this user may not look: then it stays null
      look(fd);
      close(fd);
    }
    close(pidfd);
  }
  libc.close();
  return found;
}

const versions = new Map<string, Promise<string>>(); // by command: at most one for each experiment

/**
 * The version of what serves. The command that tells it runs once: a caller asks before the load, because under a load that
 * takes all processes there may be none left for it.
 */
export async function versionOf(subject: Subject): Promise<string> {
  if (isCustom(subject)) return "a custom server";
  const { name, version } = subject;
  if (version === null) {
    const runtime = runtimeOf(subject);
    return [`Deno ${runtime.version}`, ...runtime.v8Flags].join(" ");
  }
  const known = versions.get(version) ?? askVersion(name, version);
  versions.set(version, known);
  return await known;
}

/** The first line that names a version, of what a command prints. */
async function askVersion(name: string, version: string): Promise<string> {
  const [command, ...args] = version.split(" ");
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(command!, { args, stdin: "null" }).output();
  } catch (error) { // what was built before runs on without its compiler
    if (error instanceof Deno.errors.NotFound) return `unknown: ${command} is not installed`;
    throw error;
  }
  const { stdout, stderr } = output;
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr); // Java and nginx tell it on stderr
  const line = said.split("\n").find((text) => /\d+\.\d/.test(text));
  if (line === undefined) throw new Error(`${name}: ${version} does not print a version: ${said.slice(0, 200)}`);
  return line.trim();
}

/** Looks at a server that runs; best with a connection or more. Needs `--allow-run` for the header's `@version`. */
export async function manifestOf(subject: Subject, server: Pick<Running, "pid">): Promise<Manifest> {
  const { pid } = server;
  const pids = pid === null ? null : processTree(pid);
  const taken = pid === null ? null : sample(pid);
  const status = pids === null ? null : unlessGone(() => readProc(`/proc/${pid}/status`));
  return {
    version: await versionOf(subject),
    settings: isCustom(subject) ? null : subject.fairness,
    cannot: isCustom(subject) ? [] : Object.keys(subject.cannot),
    cpus: /^Cpus_allowed_list:\s*(\S+)/m.exec(status ?? "")?.[1] ?? null,
    processes: taken?.processes ?? null,
    threads: taken?.threads ?? null,
    ...(Deno.build.os === "linux" ? lookAtSockets(pids ?? []) : NO_SOCKETS),
  };
}

const KEYS = [
  "cpus",
  "backlog",
  "nodelay",
  "send_buffer_bytes",
  "receive_buffer_bytes",
  "processes",
  "threads",
  "cannot",
  "version",
  "settings", // these differ by nature, so they come last
] as (keyof Manifest)[];

/**
 * In what servers are not equal, a line for each thing and below it each value with those that have it, the first server's
 * first: `backlog`, `  4096: epoll, poll`, `  511: nginx`.
 */
export function differences(manifests: Iterable<[name: string, manifest: Manifest]>): string[] {
  const all = [...manifests];
  const show = (value: Manifest[keyof Manifest]) =>
    Array.isArray(value) ? value.join(" ") || "nothing" : value === null ? "not stated" : String(value);
  return KEYS.flatMap((key) => {
    const values = Map.groupBy(all, ([, manifest]) => show(manifest[key]));
    const lines = [...values].map(([value, of]) => `  ${value}: ${of.map(([name]) => name).join(", ")}`);
    return values.size > 1 ? [key, ...lines] : [];
  });
}
