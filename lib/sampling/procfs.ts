/**
 * Reads files and folders below /proc and /sys through libc. Deno itself opens them only for a process that has all
 * permissions (--allow-all), because they can show the secrets of other processes; `--allow-ffi` is as strong, but a
 * measuring program needs it anyway and then needs nothing else.
 *
 * @module
 */
import { getSystemErrorName } from "node:util";

const O_RDONLY = 0;
const O_CLOEXEC = 0o2000000; // <asm-generic/fcntl.h>
const EPERM = 1;
const ENOENT = 2;
const ESRCH = 3;
const EACCES = 13; // <asm-generic/errno-base.h>
const AT_FDCWD = -100;
const STATX_SIZE = 0x200; // <fcntl.h>, <linux/stat.h>
const STATX_BYTES = 256;
const STX_SIZE = 40; // struct statx, the same on every processor: its length, and where stx_size is
const LINK_BYTES = 4096; // PATH_MAX
const D_NAME = 19; // <dirent.h>, 64-bit: u64 d_ino, i64 d_off, u16 d_reclen, u8 d_type, then the name up to its NUL

/** Bytes asked for in one read(2). Most files here are made a page at a time, and all but a few are below a page. */
const CHUNK = 64 * 1024;
/** The longest file that is read, in bytes: /proc/slabinfo has 30 KB, /proc/stat of a host with 4 096 CPUs 1 MB. */
const MAX_BYTES = 8 * 1024 * 1024;
/** The longest folder that is listed, in names: the most processes that a kernel allows (PID_MAX_LIMIT, 2²²). */
const MAX_NAMES = 4 * 1024 * 1024;

function openLibc() {
  if (Deno.build.os !== "linux") {
    throw new Deno.errors.NotSupported(`Cannot read /proc on ${Deno.build.os}: it is a part of Linux.`);
  }
  const { symbols } = Deno.dlopen("libc.so.6", {
    open: { parameters: ["buffer", "i32"], result: "i32" },
    read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
    close: { parameters: ["i32"], result: "i32" },
    opendir: { parameters: ["buffer"], result: "pointer" },
    readdir: { parameters: ["pointer"], result: "pointer" },
    closedir: { parameters: ["pointer"], result: "i32" },
    readlink: { parameters: ["buffer", "buffer", "usize"], result: "isize" },
    statx: { parameters: ["i32", "buffer", "i32", "u32", "buffer"], result: "i32" },
    __errno_location: { parameters: [], result: "pointer" },
  });
  // glibc hands out the address of this thread's errno: it is read and reset in place.
  const errno = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(symbols.__errno_location()!, 4));
  return { ...symbols, errno };
}

// Opened at the first use and not at import, so that a module that imports this one loads on every system.
let opened: ReturnType<typeof openLibc> | undefined;
const libc = () => opened ??= openLibc();

const cString = (text: string) => new TextEncoder().encode(`${text}\0`);
const decoder = new TextDecoder(); // not fatal: comm, a process's name, may hold any bytes
const chunk = new Uint8Array(CHUNK);

/** The error for `errno`. ESRCH is what a file of /proc/PID says once it is open and the process has ended. */
function failure(action: string, path: string, errno: number): Error {
  const message = `Cannot ${action} ${path}: ${getSystemErrorName(-errno)} (${errno})`;
  if (errno === ENOENT || errno === ESRCH) return new Deno.errors.NotFound(message);
  if (errno === EACCES || errno === EPERM) return new Deno.errors.PermissionDenied(message);
  return new Error(message);
}

/** Reads a file to its end. `take` gets each part in turn, and must not keep it. */
function readParts(path: string, take: (part: Uint8Array<ArrayBuffer>) => void): void {
  const { open, read, close, errno } = libc();
  const fd = open(cString(path), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw failure("open", path, errno[0]!);
  try {
    for (;;) {
      const got = Number(read(fd, chunk, BigInt(CHUNK)));
      if (got < 0) throw failure("read", path, errno[0]!);
      if (got === 0) return;
      take(chunk.subarray(0, got));
    }
  } finally {
    close(fd); // a descriptor that was only read has nothing left that could fail
  }
}

/** As {@linkcode readProc}, and its bytes as they are. */
export function readProcBytes(path: string): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  readParts(path, (part) => {
    length += part.length;
    if (length > MAX_BYTES) throw new RangeError(`Cannot read ${path}: it is longer than ${MAX_BYTES} bytes`);
    parts.push(part.slice());
  });
  if (parts.length === 1) return parts[0]!;
  const whole = new Uint8Array(length);
  for (let at = 0, i = 0; i < parts.length; at += parts[i++]!.length) whole.set(parts[i]!, at);
  return whole;
}

/**
 * Reads a whole file of /proc or /sys as text. Bytes that are no UTF-8 become U+FFFD.
 *
 * @throws {Deno.errors.NotFound} If there is no such file, or the process it belongs to has ended.
 * @throws {Deno.errors.PermissionDenied} If only root or the owner may read it.
 * @throws {Deno.errors.NotSupported} If the system is not Linux.
 * @throws {RangeError} If the file is longer than 8 MiB.
 *
 * @example
 * ```ts
 * const limits = readProc("/proc/self/limits");
 * ```
 */
export const readProc = (path: string): string => decoder.decode(readProcBytes(path));

const LINE_FEED = 10;

/**
 * Counts the lines of a file of /proc, however long it is: a process with 30 000 threads has 10 MB of mappings.
 *
 * @throws As {@linkcode readProc}, but for the length.
 */
export function countProcLines(path: string): number {
  let lines = 0;
  readParts(path, (part) => {
    for (let at = part.indexOf(LINE_FEED); at >= 0; at = part.indexOf(LINE_FEED, at + 1)) lines++;
  });
  return lines;
}

/**
 * The lines of a file of /proc that are wanted, however long it is: a table of sockets has 150 bytes for each that is in
 * TIME-WAIT, and there may be more than 100 000.
 *
 * @throws As {@linkcode readProc}, but for the length.
 */
export function filterProcLines(path: string, isWanted: (line: string) => boolean): string[] {
  const stream = new TextDecoder(); // a character may stand in two parts
  const wanted: string[] = [];
  let rest = "";
  readParts(path, (part) => {
    const lines = (rest + stream.decode(part, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) if (isWanted(line)) wanted.push(line);
  });
  rest += stream.decode();
  return rest !== "" && isWanted(rest) ? [...wanted, rest] : wanted;
}

/**
 * Lists the names in a folder of /proc or /sys, without `.` and `..`, in the order of the kernel.
 *
 * @throws {Deno.errors.NotFound} If there is no such folder, or the process it belongs to has ended.
 * @throws {Deno.errors.PermissionDenied} If only root or the owner may list it.
 * @throws {Deno.errors.NotSupported} If the system is not Linux.
 * @throws {RangeError} If it holds more than 4 194 304 names.
 *
 * @example
 * ```ts
 * const descriptors = listProc("/proc/self/fd").length;
 * ```
 */
export function listProc(path: string): string[] {
  const { opendir, readdir, closedir, errno } = libc();
  const folder = opendir(cString(path));
  if (folder === null) throw failure("open", path, errno[0]!);
  const names: string[] = [];
  try {
    for (;;) {
      errno[0] = 0; // readdir(3) returns NULL at the end and for an error alike: only errno tells them apart
      const entry = readdir(folder);
      if (entry === null) break;
      if (names.length === MAX_NAMES) throw new RangeError(`Cannot list ${path}: it holds over ${MAX_NAMES} names`);
      const name = Deno.UnsafePointerView.getCString(entry, D_NAME);
      if (name !== "." && name !== "..") names.push(name);
    }
    if (errno[0] !== 0) throw failure("list", path, errno[0]!);
  } finally {
    closedir(folder); // as close(2) of a descriptor that was only read
  }
  return names;
}

/**
 * The size that the kernel tells of a file or folder, in bytes; for most of /proc it is 0. Since Linux 6.2 the size of
 * /proc/PID/fd is the number of open descriptors.
 *
 * @throws {Deno.errors.NotFound} If there is no such file, or the process it belongs to has ended.
 * @throws {Deno.errors.PermissionDenied} If a folder on the way is closed to this user.
 * @throws {Deno.errors.NotSupported} If the system is not Linux.
 */
export function sizeProc(path: string): number {
  const { statx, errno } = libc();
  const result = new DataView(new ArrayBuffer(STATX_BYTES));
  if (statx(AT_FDCWD, cString(path), 0, STATX_SIZE, result) < 0) throw failure("look up", path, errno[0]!);
  return Number(result.getBigUint64(STX_SIZE, true));
}

/**
 * What a symbolic link of /proc or /sys leads to: `socket:[4711]` for a descriptor of a process that is a socket.
 *
 * @throws {Deno.errors.NotFound} If there is no such link, or the process it belongs to has ended.
 * @throws {Deno.errors.PermissionDenied} If only root or the owner may read it.
 * @throws {Deno.errors.NotSupported} If the system is not Linux.
 */
export function linkProc(path: string): string {
  const { readlink, errno } = libc();
  const target = new Uint8Array(LINK_BYTES);
  const got = Number(readlink(cString(path), target, BigInt(LINK_BYTES)));
  if (got < 0) throw failure("read", path, errno[0]!);
  return decoder.decode(target.subarray(0, got));
}
