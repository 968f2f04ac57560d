/**
 * The system calls of faults: limits of other processes, and what the thread of a cell changes around itself. Linux only.
 *
 * @module
 */
import { getSystemErrorName } from "node:util";
import { readProc } from "../../lib/sampling/procfs.ts";
import { CannotDo } from "./fault.ts";

const RLIMIT_NPROC = 6; // <asm-generic/resource.h>
const RLIMIT_NOFILE = 7;
const RLIM_INFINITY = 2n ** 64n - 1n;
const NAMES: Record<number, string> = { [RLIMIT_NPROC]: "nproc", [RLIMIT_NOFILE]: "nofile" }; // of prlimit(1)
const SHOWN: Record<number, string> = { [RLIMIT_NPROC]: "Max processes", [RLIMIT_NOFILE]: "Max open files" };
const CLONE_NEWNS = 0x20000; // <linux/sched.h>
const CLONE_NEWNET = 0x40000000;
const O_WRONLY = 1; // <asm-generic/fcntl.h>
const O_CLOEXEC = 0o2000000;
const PR_SET_NO_NEW_PRIVS = 38; // <linux/prctl.h>
const PR_SET_SECCOMP = 22;
const SECCOMP_MODE_FILTER = 2; // <linux/seccomp.h>
const SECCOMP_RET_ERRNO = 0x50000;
const SECCOMP_RET_ALLOW = 0x7fff0000;
const EPERM = 1; // <asm-generic/errno-base.h>
const BPF_LD_W_ABS = 0x20; // <linux/bpf_common.h>
const BPF_JEQ_K = 0x15;
const BPF_RET_K = 0x06;
const SECCOMP_DATA_NR = 0; // where struct seccomp_data has the number of the system call
const SYS_io_uring_setup = 425; // <asm-generic/unistd.h>; new calls have one number everywhere
const INSTRUCTION_BYTES = 8; // struct sock_filter { u16 code; u8 jt; u8 jf; u32 k; }
const DIRECTORY_MODE = 0o755;

function openLibc() {
  const { symbols } = Deno.dlopen("libc.so.6", {
    prlimit64: { parameters: ["i32", "i32", "buffer", "buffer"], result: "i32" },
    unshare: { parameters: ["i32"], result: "i32" },
    prctl: { parameters: ["i32", "usize", "usize", "usize", "usize"], result: "i32" },
    open: { parameters: ["buffer", "i32"], result: "i32" },
    write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
    close: { parameters: ["i32"], result: "i32" },
    mkdir: { parameters: ["buffer", "u32"], result: "i32" },
    rmdir: { parameters: ["buffer"], result: "i32" },
    __errno_location: { parameters: [], result: "pointer" },
  });
  const errno = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(symbols.__errno_location()!, 4));
  return { ...symbols, errno };
}
let opened: ReturnType<typeof openLibc> | undefined; // at the first use: this module loads on every system
const libc = () => opened ??= openLibc();

const cString = (text: string) => new TextEncoder().encode(`${text}\0`);
const errorName = () => getSystemErrorName(-libc().errno[0]!);

/** Sets a limit as the user of a process: root without CAP_SYS_RESOURCE may do that to its own processes only. */
function limitAs(pid: number, resource: number, [soft, hard]: BigUint64Array): boolean {
  const id = (name: string) => new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(readProc(`/proc/${pid}/status`))?.[1] ?? "";
  const user = [`--reuid=${id("Uid")}`, `--regid=${id("Gid")}`, "--clear-groups"];
  const words = ["prlimit", `--pid=${pid}`, `--${NAMES[resource]}=${soft}:${hard}`];
  try {
    return new Deno.Command("setpriv", { args: [...user, ...words], stdout: "null", stderr: "null" }).outputSync()
      .success;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return false; // not every system has it
  }
}

/** The limits of a process as the kernel shows them to everybody: for those that prlimit(2) does not read. */
function shownLimits(pid: number, resource: number): BigUint64Array {
  const line = new RegExp(`^${SHOWN[resource]}\\s+(\\S+)\\s+(\\S+)`, "m").exec(readProc(`/proc/${pid}/limits`));
  const value = (text: string | undefined) => text === undefined || text === "unlimited" ? RLIM_INFINITY : BigInt(text);
  return new BigUint64Array([value(line?.[1]), value(line?.[2])]);
}

/** Sets a soft limit of a process, and returns the one before. prlimit(2) works on any process of the user. */
function limit(pid: number, resource: number, soft: bigint): bigint {
  const [before, hard] = shownLimits(pid, resource);
  const wanted = new BigUint64Array([soft, hard!]); // struct rlimit64: soft, hard
  if (libc().prlimit64(pid, resource, wanted, null) === 0) return before!;
  const wrong = errorName();
  if (wrong === "EPERM" && Deno.uid() === 0 && limitAs(pid, resource, wanted)) return before!;
  throw new CannotDo(`process ${pid} cannot be limited: ${wrong}`);
}

export const limitDescriptors = (pid: number, soft: bigint): bigint => limit(pid, RLIMIT_NOFILE, soft);
export const limitProcesses = (pid: number, soft: bigint): bigint => limit(pid, RLIMIT_NPROC, soft);

/** Takes the calling thread, and all that it starts from now on, into a namespace of its own. */
function leave(flag: number, what: string): void {
  if (libc().unshare(flag) !== 0) throw new CannotDo(`${what} of its own cannot be made: ${errorName()}`);
}

export const leaveNetwork = (): void => leave(CLONE_NEWNET, "a network");
export const leaveMounts = (): void => leave(CLONE_NEWNS, "a table of mounts");

/** The program of a seccomp filter that answers io_uring_setup(2) with EPERM, and lets all else pass. */
function ioUringFilter(): Uint8Array<ArrayBuffer> {
  const program: [code: number, ifTrue: number, ifFalse: number, value: number][] = [
    [BPF_LD_W_ABS, 0, 0, SECCOMP_DATA_NR],
    [BPF_JEQ_K, 0, 1, SYS_io_uring_setup],
    [BPF_RET_K, 0, 0, SECCOMP_RET_ERRNO | EPERM],
    [BPF_RET_K, 0, 0, SECCOMP_RET_ALLOW],
  ];
  const bytes = new DataView(new ArrayBuffer(program.length * INSTRUCTION_BYTES));
  for (const [i, [code, ifTrue, ifFalse, value]] of program.entries()) {
    const at = i * INSTRUCTION_BYTES;
    bytes.setUint16(at, code, true);
    bytes.setUint8(at + 2, ifTrue);
    bytes.setUint8(at + 3, ifFalse);
    bytes.setUint32(at + 4, value, true);
  }
  return new Uint8Array(bytes.buffer);
}

/**
 * Forbids io_uring to the calling thread and to all that it starts from now on, and for ever: seccomp(2) cannot be undone.
 * The setting kernel.io_uring_disabled would forbid it to the whole machine.
 */
export function forbidIoUring(): void {
  const filter = ioUringFilter();
  const program = new BigUint64Array([ // struct sock_fprog { u16 len; struct sock_filter *filter; }
    BigInt(filter.length / INSTRUCTION_BYTES),
    BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(filter))),
  ]);
  const address = BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(program)));
  const { prctl } = libc();
  const failed = prctl(PR_SET_NO_NEW_PRIVS, 1n, 0n, 0n, 0n) !== 0 ||
    prctl(PR_SET_SECCOMP, BigInt(SECCOMP_MODE_FILTER), address, 0n, 0n) !== 0;
  if (failed) throw new CannotDo(`no filter of system calls can be set: ${errorName()}`);
}

/** Writes a file of a kernel's file system in one write(2). Returns the errno's name if that fails, else null. */
export function writeKernelFile(path: string, text: string): string | null {
  const fd = libc().open(cString(path), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errorName();
  const bytes = new TextEncoder().encode(text);
  const wrong = Number(libc().write(fd, bytes, BigInt(bytes.length))) < 0 ? errorName() : null;
  libc().close(fd);
  return wrong;
}

/** Makes a folder of a kernel's file system. Returns the errno's name if that fails, else null. */
export const makeKernelFolder = (path: string): string | null =>
  libc().mkdir(cString(path), DIRECTORY_MODE) === 0 ? null : errorName();

/** Removes one, which must be empty. Returns the errno's name if that fails, else null. */
export const removeKernelFolder = (path: string): string | null =>
  libc().rmdir(cString(path)) === 0 ? null : errorName();
