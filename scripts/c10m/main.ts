/**
 * Ten million connections, and more: starts xdp at one end of a veth pair and a crowd of clients at the other. All connect and
 * ask; all are held; all ask again; all close. Needs root, and two cores.
 *
 * deno task c10m [--connections 10000000] [--hold SECONDS] [--json] [--no-save]
 */
import { fileURLToPath } from "node:url";
import { find } from "../../lib/catalogue/catalogue.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { interruptible } from "../../lib/cli/interrupt.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { taskLine } from "../../lib/cli/shell.ts";
import { count } from "../../lib/text/format.ts";
import {
  CLIENT_ADDRESS,
  CLIENT_INTERFACE,
  networkObstacle,
  openNetwork,
  SERVER_MAC,
} from "../../lib/network/namespaces.ts";
import { CROWD } from "../../lib/results/conventions.ts";
import { corePair } from "../../lib/sampling/cores.ts";
import { Storing } from "../../lib/results/durable_file.ts";
import { writeStudy } from "../../lib/results/studies.ts";
import { measure, type Outcome, type RunPlan } from "./measure.ts";
import { memoryObstacle } from "./memory.ts";
import { failuresOf, rowsOf, summary } from "./report.ts";

const USAGE = "Usage: deno task c10m [--connections 10000000] [--hold SECONDS] [--json] [--no-save]";
/** What the name of the command says; fewer are a first look. */
const TEN_MILLION = CROWD.connections;
const MAX_CONNECTIONS = 200_000_000; // 10/8, without the kernel's own part, has ports for 500 million
const MAX_HOLD_S = 3600;

/** Why this machine cannot do it; null if it can. */
async function obstacleTo(connections: number): Promise<string | null> {
  const reason = await networkObstacle();
  if (reason !== null) return reason;
  if (corePair() === null) return "server and client need a core each, and there is one";
  return memoryObstacle(connections);
}

/** Makes the network, and measures in it. */
async function meet(
  plan: Pick<RunPlan, "connections" | "holdS" | "cores" | "signal">,
): Promise<Outcome> {
  await using network = await openNetwork();
  return await measure({
    network,
    experiment: find(CROWD.server),
    client: fileURLToPath(new URL("client.ts", import.meta.url)),
    clientInterface: CLIENT_INTERFACE,
    kernelAddress: CLIENT_ADDRESS,
    serverMac: SERVER_MAC,
    ...plan,
    say: (line) => console.error(line),
  });
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, {
    string: ["connections", "hold"],
    boolean: ["json", "save"],
    negatable: ["save"],
    defaults: { save: true },
  });
  if (flags._.length > 0) throw new UsageError(`Unexpected ${flags._[0]}.`);
  const whole = { min: 1, max: MAX_CONNECTIONS, integer: true };
  const connections = numberFlag("connections", flags.connections ?? String(TEN_MILLION), whole);
  const holdS = numberFlag("hold", flags.hold ?? "5", { min: 0, max: MAX_HOLD_S, integer: true });
  const reason = await obstacleTo(connections);
  if (reason !== null) {
    console.error(`c10m cannot run here: ${reason}.`);
    return EXIT.unavailable;
  }
  return await interruptible(async (signal) => {
    const storing = new Storing(flags.save);
    await storing.begin();
    const cores = corePair()!; // asked for above
    console.error(
      `${count(connections)} connections: xdp on core ${cores.server}, its clients on core ${cores.load}. ` +
        "The kernel's work on a frame is done where it was sent.",
    );
    const outcome = await meet({ connections, holdS, cores, signal });
    const rows = rowsOf(outcome);
    const command = taskLine("c10m", Deno.args);
    await storing.add(() => writeStudy("probe", rows, { command, quick: connections < TEN_MILLION }));
    console.log(flags.json ? JSON.stringify(outcome, null, 2) : summary(outcome));
    storing.finish();
    return failuresOf(outcome).length > 0 ? EXIT.failed : EXIT.ok;
  }, "nothing is stored, since a part of the connections says nothing of the whole.");
});
