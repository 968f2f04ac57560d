/**
 * How many connections the kernel completes for a server that does not accept: the smaller of its backlog and
 * net.core.somaxconn.
 *
 * @module
 */
import { readSysctls } from "../sampling/host.ts";
import { readProc } from "../sampling/procfs.ts";
import { cannotChange, PatchedCopies } from "../catalogue/patched_copies.ts";
import { inTurn, linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import { orMissing, Rig } from "./rig.ts";

const NAME = "backlog";
const SERVER = "epoll";
const WRITTEN = "const BACKLOG = 4096;";
const METRICS = ["completed"] as const;
/** So many clients come for each place: those that find none try again without success until the time is over. */
const CROWD = 1.25;
const QUIET_MS = 500; // a connection to this machine takes well below a millisecond

/** How it is measured. */
export interface Extent {
  backlogs: readonly number[];
  runs: number;
}

/** Connections that are complete while the server is stopped, and so accepts none. */
async function completed(rig: Rig, backlog: number): Promise<number> {
  const pid = rig.server.leaderPid;
  Deno.kill(pid, "SIGSTOP");
  try {
    const count = Math.ceil(backlog * CROWD);
    return (await rig.generator.connect(count, { timeoutMs: QUIET_MS })).connected;
  } finally {
    Deno.kill(pid, "SIGCONT");
  }
}

/** Measures a fresh server in each run. */
export async function measureBacklog({ backlogs, runs }: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  using changed = new PatchedCopies();
  const note = `net.core.somaxconn is ${readSysctls(readProc)["net.core.somaxconn"]}; the kernel takes one more`;
  return await inTurn(backlogs, plan, (backlog) => `backlog ${backlog}`, (backlog) => {
    const change = { name: `backlog-${backlog}`, replace: WRITTEN, by: `const BACKLOG = ${backlog};` };
    const server = changed.make(SERVER, change);
    const rows = rowsOf(NAME, String(backlog));
    return orMissing([rows], METRICS, plan, async () => {
      const found: number[] = [];
      for (let run = 0; run < runs; run++) {
        await using rig = await Rig.start({ server, signal: plan.signal });
        found.push(await completed(rig, backlog));
      }
      return [rows.of(METRICS[0], found, note)];
    });
  });
}

export const backlog: Probe = {
  name: NAME,
  title: "Connections that are complete before the server accepts them",
  obstacle: () => linuxOnly() ?? cannotChange(),
  run: (plan) => measureBacklog({ backlogs: [128, 4096], runs: plan.quick ? 1 : RUNS }, plan),
};
