/**
 * What a cell needs around its server, made for the calling thread and all that it starts: the machine sees none of it.
 *
 * @module
 */
import { temporaryFolder } from "../../lib/cli/temporary_folder.ts";
import { join } from "node:path";
import { CannotDo, type Ground, type SteppedClock } from "./fault.ts";
import { forbidIoUring, leaveMounts, leaveNetwork } from "./kernel.ts";

const DISK_BYTES = 64 * 2 ** 20;

/** What was made. Disposing of it, behind the end of the server, removes it. */
export interface Prepared extends Disposable {
  /** Added to the environment of the server. */
  env: Record<string, string>;
  /** The folder of the small disk. */
  disk?: string;
  clock?: SteppedClock;
}

const NOTHING: Prepared = { env: {}, [Symbol.dispose]: () => {} };

/** Runs a program of this thread's namespaces to its end. */
function run(command: string, ...args: string[]): void {
  const { success, stderr } = new Deno.Command(command, { args, stdin: "null" }).outputSync();
  if (!success) throw new CannotDo(`${command} ${args.join(" ")} fails: ${new TextDecoder().decode(stderr).trim()}`);
}

function network(): Prepared {
  leaveNetwork(); // it goes with its last thread
  run("ip", "link", "set", "lo", "up");
  return NOTHING;
}

function disk(): Prepared {
  leaveMounts();
  run("mount", "--make-rprivate", "/"); // else what is mounted here would be seen outside
  const folder = temporaryFolder();
  try {
    run("mount", "-t", "tmpfs", "-o", `size=${DISK_BYTES},mode=1777`, "c10k", folder.path);
  } catch (error) {
    folder[Symbol.dispose]();
    throw error;
  }
  return {
    env: { TMPDIR: folder.path },
    disk: folder.path,
    [Symbol.dispose]() {
      run("umount", "--lazy", folder.path);
      folder[Symbol.dispose]();
    },
  };
}

const CLOCK_BYTES = 4096; // struct shared of stepped_clock.c: 64 bits of seconds, then the ids of processes
const PIDS_AT = 8;

function clock(): Prepared {
  const folder = temporaryFolder();
  const [library, path] = [join(folder.path, "clock.so"), join(folder.path, "clock")];
  try {
    run("cc", "-O2", "-shared", "-fPIC", "-o", library, join(import.meta.dirname!, "stepped_clock.c"), "-ldl");
    Deno.writeFileSync(path, new Uint8Array(CLOCK_BYTES));
  } catch (error) {
    folder[Symbol.dispose]();
    if (error instanceof Deno.errors.NotFound) throw new CannotDo("a clock of its own needs cc, which is missing");
    throw error;
  }
  return {
    env: { LD_PRELOAD: library, FAULTS_CLOCK: path },
    clock: {
      step(seconds) {
        using file = Deno.openSync(path, { write: true }); // the server has mapped it, and sees the change at once
        file.writeSync(new Uint8Array(BigInt64Array.of(BigInt(seconds)).buffer));
      },
      governs: (pid) => new Int32Array(Deno.readFileSync(path).buffer, PIDS_AT).includes(pid),
    },
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}

/** Makes what a fault needs around the server. */
export function prepare(ground: Ground | undefined): Prepared {
  if (ground === "network") return network();
  if (ground === "disk") return disk();
  if (ground === "clock") return clock();
  if (ground === "no-io-uring") forbidIoUring();
  return NOTHING;
}
