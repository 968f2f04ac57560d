/**
 * The command line of an agent.
 *
 * @module
 */
import { type Broker, BROKER_FLAGS, BROKER_USAGE, type BrokerReader, readBroker } from "../../lib/fleet/address.ts";
import { type Bounds, randomId } from "../../lib/fleet/protocol.ts";
import { Targets } from "./targets.ts";
import { UsageError } from "../../lib/cli/errors.ts";
import { numberFlag, parseFlags } from "../../lib/cli/flags.ts";
import { readList } from "../../lib/run/setup.ts";
import { readCpus } from "../../lib/sampling/cores.ts";

export const USAGE = `Usage: deno task agent --nats nats://HOST:4222 [flags]
       Makes load for deno task measure --fleet, one run at a time, until it is
       stopped.
       --allow-target CIDR    a network that it may load, besides this machine;
                              may be repeated
       --max-connections N    (20000) bounds that no coordinator can raise:
       --max-rate N           (100000) requests/s of an open loop; where it is
                              named only open loops run, as others have no rate
       --max-seconds S        (3600) of one run
       --processes N          (1) of the load generator, on any cores, or
       --load-cores 1,2-3     one on each of these
       --name NAME            how reports name it
       --once                 end after one run that has made load
       ${BROKER_USAGE}
With --max-rate the first requests on new connections, one on each, are sent at
that rate too.`;

/** What an agent was asked for. */
export interface AskedAgent {
  broker: Broker;
  name: string;
  bounds: Bounds;
  targets: Targets;
  cpus: number[] | null;
  processes: number;
  once: boolean;
}

const NAME = /^[\w.-]{1,64}$/;

/** What a coordinator takes of one agent. */
const MAX_PROCESSES = 64;

/** @throws {UsageError} If one of the cores is not there, or there are too many of them. */
function readCores(text: string): number[] {
  const cores = readList("load-cores", text);
  if (cores.length > MAX_PROCESSES) {
    throw new UsageError(`--load-cores ${text}: an agent has up to ${MAX_PROCESSES} processes, one on each core.`);
  }
  const missing = cores.find((core) => !readCpus().some(({ id }) => id === core));
  if (missing !== undefined) throw new UsageError(`--load-cores ${text}: this process may not use core ${missing}.`);
  return cores;
}

/**
 * @param reader Reads what is said of the broker.
 * @throws {UsageError} If the command line cannot be understood.
 */
export function asked(args: readonly string[], reader: BrokerReader = readBroker): AskedAgent {
  const flags = parseFlags(args, {
    string: [
      ...["nats", "name", "processes", "load-cores", "max-connections", "max-rate", "max-seconds"] as const,
      ...BROKER_FLAGS,
    ],
    collect: ["allow-target"],
    boolean: ["once"],
  });
  if (flags._.length > 0) throw new UsageError(`Unexpected ${flags._[0]}.`);
  if (flags.nats === undefined) throw new UsageError("Name the broker: --nats nats://HOST:4222.");
  const { name = randomId(4), processes = "1" } = flags;
  if (!NAME.test(name)) throw new UsageError(`--name ${name}: letters, digits, dots and hyphens.`);
  const cores = flags["load-cores"];
  if (cores !== undefined && flags.processes !== undefined) {
    throw new UsageError("Give --load-cores or --processes, one of the two: each core has a process.");
  }
  const whole = (flag: string, text: string, max: number) => numberFlag(flag, text, { min: 1, max, integer: true });
  return {
    broker: reader("nats", flags.nats, flags),
    name,
    bounds: {
      connections: whole("max-connections", flags["max-connections"] ?? "20000", 2e6),
      rate_per_s: numberFlag("max-rate", flags["max-rate"] ?? "100000", { min: 1, max: 2e6 }),
      seconds: numberFlag("max-seconds", flags["max-seconds"] ?? "3600", { min: 1, max: 1e6 }),
      open_only: flags["max-rate"] !== undefined,
    },
    targets: new Targets((flags["allow-target"] ?? []).flatMap((list) => list.split(","))),
    cpus: cores === undefined ? null : readCores(cores),
    processes: whole("processes", processes, MAX_PROCESSES),
    once: flags.once,
  };
}
