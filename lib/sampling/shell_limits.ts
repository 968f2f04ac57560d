/**
 * The limit of descriptors that the user's shell gives its programs. Deno raises its own soft limit to the hard one when it starts,
 * and hands it on to the servers that the lab starts: they may have more than they would have where the user starts them.
 *
 * @module
 */
import { count } from "../text/format.ts";
import { parseLimits, parseStat } from "./proc_parse.ts";
import { readProc } from "./procfs.ts";

const MAX_ANCESTORS = 16;

type Read = (path: string) => string;

/**
 * The soft limit of the nearest process above this one that is no Deno: `deno task` starts one for each command. Null where there
 * is none, or it may not be read.
 */
export function shellDescriptors(pid: number, read: Read = readProc): number | null {
  try {
    for (let at = pid, i = 0; at > 0 && i < MAX_ANCESTORS; i++) {
      const { comm, ppid } = parseStat(read(`/proc/${at}/stat`));
      if (comm !== "deno") return parseLimits(read(`/proc/${at}/limits`)).nofileSoft;
      at = ppid;
    }
  } catch (error) {
    // A parent of another user, or one that has ended meanwhile, is not asked.
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied)) throw error;
  }
  return null;
}

/** One sentence where servers get more descriptors here than from the user's shell; null where they do not, or it is not known. */
export function moreDescriptors(pid: number, read: Read = readProc): string | null {
  const shell = shellDescriptors(pid, read);
  const own = shell === null ? null : parseLimits(read(`/proc/${pid}/limits`)).nofileSoft;
  if (shell === null || (own !== null && own <= shell)) return null;
  const here = own === null ? "no limit of descriptors" : `${count(own)} descriptors`;
  return `A server that is started here has ${here}; from your shell it would have ${count(shell)} (ulimit -Sn).`;
}
