/**
 * Takes back what faults have done to a server that somebody else has started, also where this process is killed meanwhile.
 *
 * A shell in a session of its own reads a pipe that this process holds. When the pipe ends, by SIGKILL as well, it sets the
 * limits as they were, moves the processes out of control groups, and lets them go on.
 *
 * @module
 */
import { processTree, unlessGone } from "../../lib/sampling/process.ts";
import { readProc } from "../../lib/sampling/procfs.ts";
import { isCustom, type Subject } from "../../lib/server/subject.ts";

/** A group is busy until the parents have reaped the processes in it. */
const TRIES = 50;
const RETRY_S = 0.1;

// A process that was not there in the beginning gets the limits of the root, which stand first. In version 2 a group that hands
// controllers down may hold no process, so the home of the root is known; in version 1 it is the parent of the group. Root
// without CAP_SYS_RESOURCE changes limits as the user of a process, where setpriv(1) is there.
const WATCH = `
while read -r line; do :; done
root=$1
owner=$2
home=$3
shift 3
tree() {
  echo "$1"
  for child in $(cat "/proc/$1/task"/*/children 2>/dev/null); do tree "$child"; done
}
limit() {
  while read -r key id rest; do
    case $key in Uid:) user=$id ;; Gid:) group=$id ;; esac
  done <"/proc/$1/status"
  set -- prlimit --pid "$1" --nofile="$2:" --nproc="$3:"
  "$@" || setpriv --reuid="$user" --regid="$group" --clear-groups "$@"
}
for pid in $(tree "$root"); do
  for each; do
    case $each in "$root":* | "$pid":*) limits=\${each#*:} ;; esac
  done
  limit "$pid" "\${limits%:*}" "\${limits#*:}" 2>/dev/null
  kill -s CONT "$pid" 2>/dev/null
done
find /sys/fs/cgroup -type d -name "c10k-faults-$owner-*" 2>/dev/null | while read -r group; do
  to=\${group%/*}
  if [ -e "$group/cgroup.controllers" ]; then to=/sys/fs/cgroup$home; fi
  tries=${TRIES}
  while [ -d "$group" ] && [ "$tries" -gt 0 ]; do
    for pid in $(cat "$group/cgroup.procs"); do echo "$pid" >"$to/cgroup.procs"; done
    rmdir "$group" || sleep ${RETRY_S}
    tries=$((tries - 1))
  done
done`;

/** The soft limits that faults change, in the words of prlimit(1): those of descriptors and of processes. */
function softLimits(pid: number): string | null {
  const limits = unlessGone(() => readProc(`/proc/${pid}/limits`));
  const soft = (name: string) => new RegExp(`^${name}\\s+(\\S+)`, "m").exec(limits ?? "")?.[1];
  return limits === null ? null : `${pid}:${soft("Max open files")}:${soft("Max processes")}`;
}

/** Watches over a server that runs already, where its process is known. Null: there is nothing to watch over. */
export function watchOver(subjects: readonly Subject[]): AsyncDisposable | null {
  const [subject] = subjects;
  if (subject === undefined || !isCustom(subject) || subject.words !== null || subject.pid === null) return null;
  const limits = (processTree(subject.pid) ?? []).flatMap((pid) => softLimits(pid) ?? []);
  if (limits.length === 0) return null; // it has ended, which whoever attaches to it says
  const home = /^0::(.*)$/m.exec(readProc(`/proc/${subject.pid}/cgroup`))?.[1] ?? "";
  const watchdog = new Deno.Command("sh", {
    args: ["-c", WATCH, "sh", String(subject.pid), String(Deno.pid), home, ...limits],
    detached: true, // Ctrl-C in the terminal reaches this process alone
    stdin: "piped",
    stdout: "null",
    stderr: "null",
  }).spawn();
  return {
    async [Symbol.asyncDispose]() {
      await watchdog.stdin.close();
      await watchdog.status;
    },
  };
}
