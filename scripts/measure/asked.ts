/**
 * The command line of `deno task measure`.
 *
 * @module
 */
import { catalogue } from "../../lib/catalogue/catalogue.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { numberFlag, parseFlags } from "../../lib/cli/flags.ts";
import { type Broker, BROKER_FLAGS, BROKER_USAGE, type BrokerReader, readBroker } from "../../lib/fleet/address.ts";
import type { MeasureOptions } from "../../lib/run/ladder.ts";
import { fitting, MEASURE_FLAGS, MEASURE_SAYS, measureUsage, readMeasureOptions } from "../../lib/run/measure.ts";
import { SCENARIOS } from "../../lib/results/results.ts";
import { commandBehind, readCustom } from "../../lib/server/custom.ts";
import type { CustomServer } from "../../lib/server/subject.ts";

/** A server of the user's own has no requests that burn CPU. */
const ASKED = SCENARIOS.filter((name) => name !== "mixed");

export const USAGE = `Usage: deno task measure --name NAME [flags] -- <command>…
         it gets its port from PORT in its environment
       deno task measure --name NAME [flags] --port N -- <command>…
         it listens on a port of its own choice
       deno task measure --name NAME [flags] --url http://127.0.0.1:PORT
         [--pid N]   the host is 127.0.0.1, [::1] or localhost
       deno task measure --name NAME [flags] --url http://HOST:PORT
         --fleet nats://HOST:4222 [--agents 1] [--wait 5]
Flags: ${measureUsage(ASKED)}
       [--path /healthz]
       ${MEASURE_SAYS}
       --path: what is asked for by GET; default: /. Of a --url it is the end.
       The answer must have status 200. With --scenario broadcast WebSockets are
       opened there, and the server is to send each text that one sends to all.
       A command runs in the folder of the lab. Without a pid CPU time and memory
       are not known, and shown as such.
       --fleet: N hosts make the load, each by deno task agent; --wait: for so
       many seconds enough of them are waited for. A server on another host than
       theirs must be in their --allow-target.
       ${BROKER_USAGE}`;

const MAX_AGENTS = 1000;

/** Where the agents are, and how many are wanted. */
export interface AskedFleet {
  broker: Broker;
  agents: number;
  /** How long they are waited for. */
  waitSeconds: number;
}

/** What the user asked for. */
export interface Asked {
  subject: CustomServer;
  options: MeasureOptions;
  json: boolean;
  save: boolean;
  /** Null: this machine makes the load. */
  fleet: AskedFleet | null;
}

/**
 * @param reader Reads what is said of the broker of a fleet.
 * @throws {UsageError} If the command line cannot be understood.
 */
export function asked(args: readonly string[], reader: BrokerReader = readBroker): Asked {
  const { own, words } = commandBehind(args);
  const flags = parseFlags(own, {
    ...MEASURE_FLAGS,
    string: [...MEASURE_FLAGS.string, "name", "url", "pid", "port", "path", "fleet", "agents", "wait", ...BROKER_FLAGS],
  });
  if (flags._.length > 0) throw new UsageError(`Unexpected ${flags._[0]}: the command stands behind --.`);
  const options = readMeasureOptions(flags);
  if (options.scenarios?.includes("mixed")) {
    throw new UsageError("mixed asks for /work, which experiments alone have: it is for deno task exp.");
  }
  const fleet = readFleet(flags, reader);
  const subject = readCustom(flags, words, catalogue().map(({ name }) => name), fleet?.broker.display ?? null);
  if (flags.url !== undefined && flags["server-cores"] !== undefined) {
    throw new UsageError("--server-cores belongs to a server that is started here; one at a --url runs where it runs.");
  }
  if (fleet !== null && flags["load-cores"] !== undefined) {
    throw new UsageError("--load-cores belongs to a load on this machine: each agent has its own.");
  }
  if (fleet !== null && options.scenarios?.includes("broadcast")) {
    throw new UsageError("broadcast is not for a fleet: its agents speak HTTP.");
  }
  const fitted = fitting(subject, options);
  const { json, save } = flags;
  return { subject, options: fleet === null ? fitted : { ...fitted, agents: fleet.agents }, json, save, fleet };
}

function readFleet(
  flags: { fleet?: string; agents?: string; wait?: string } & Partial<Record<typeof BROKER_FLAGS[number], string>>,
  reader: BrokerReader,
): AskedFleet | null {
  const { fleet, agents = "1", wait = "5" } = flags;
  if (fleet === undefined) {
    const alone = (["agents", "wait", ...BROKER_FLAGS] as const).find((name) => flags[name] !== undefined);
    if (alone !== undefined) throw new UsageError(`--${alone} belongs to --fleet.`);
    return null;
  }
  const wanted = numberFlag("agents", agents, { min: 1, max: MAX_AGENTS, integer: true });
  const waitSeconds = numberFlag("wait", wait, { min: 0.1, max: 3600 });
  return { broker: reader("fleet", fleet, flags), agents: wanted, waitSeconds };
}
