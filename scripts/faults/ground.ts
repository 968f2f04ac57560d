/**
 * What a cell needs around its server, made for the calling thread and all that it starts: the machine sees none of it.
 *
 * @module
 */
import { join } from "node:path";
import { temporaryFolder } from "../../lib/cli/temporary_folder.ts";
import { CannotDo, type Ground, type Preload } from "./fault.ts";
import { forbidIoUring, leaveMounts, leaveNetwork } from "./kernel.ts";
import { Interposed } from "./preload.ts";

const DISK_BYTES = 64 * 2 ** 20;

/** What was made. Disposing of it, behind the end of the server, removes it. */
export interface Prepared extends Disposable {
  /** Added to the environment of the server. */
  env: Record<string, string>;
  /** The folder of the small disk. */
  disk?: string;
  preload?: Preload;
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

/** The name of the file on the small disk that stdout and stderr of a server are moved to. */
export const LOG = "output";

function disk(): Prepared {
  leaveMounts();
  run("mount", "--make-rprivate", "/"); // else what is mounted here would be seen outside
  using made = new DisposableStack();
  const folder = made.use(temporaryFolder());
  const preload = made.use(new Interposed(join(folder.path, LOG))); // its page is on another disk, that never is full
  run("mount", "-t", "tmpfs", "-o", `size=${DISK_BYTES},mode=1777`, "c10k", folder.path);
  made.defer(() => run("umount", "--lazy", folder.path));
  const all = made.move();
  return {
    env: { TMPDIR: folder.path, ...preload.env },
    disk: folder.path,
    preload,
    [Symbol.dispose]: () => all.dispose(),
  };
}

function preload(): Prepared {
  const before = new Interposed();
  return { env: before.env, preload: before, [Symbol.dispose]: () => before[Symbol.dispose]() };
}

/** Makes what a fault needs around the server. */
export function prepare(ground: Ground | undefined): Prepared {
  if (ground === "network") return network();
  if (ground === "disk") return disk();
  if (ground === "preload") return preload();
  if (ground === "no-io-uring") forbidIoUring();
  return NOTHING;
}
