/**
 * The process of an agent, which main.ts starts with the network permission for the broker.
 *
 * @module
 */
import { asked, USAGE } from "./asked.ts";
import { Agent } from "./agent.ts";
import { descriptorsHere, within } from "./descriptors.ts";
import { connectBroker, follow, isBrokerLost } from "../../lib/fleet/broker.ts";
import { KnownFailure, Unavailable } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { runScript } from "../../lib/cli/flags.ts";
import { onInterrupt } from "../../lib/cli/interrupt.ts";
import { relaunched } from "../../lib/fleet/relaunch.ts";
import type { Bounds } from "../../lib/fleet/protocol.ts";
import { loadDigest } from "../../lib/results/lab.ts";
import { count } from "../../lib/text/format.ts";

/** What an agent will do at most. `descriptors` a process may have, where these are what bounds the connections; else null. */
function described({ connections, rate_per_s, seconds }: Bounds, descriptors: number | null): string {
  const why = descriptors === null ? "" : ` (${count(descriptors)} descriptors per process)`;
  return `up to ${count(connections)} connections${why}, ${count(rate_per_s)} requests/s and ${count(seconds)} s`;
}

await runScript(USAGE, async () => {
  const given = await relaunched();
  const { broker, name, targets, cpus, processes: number, once, ...wanted } = asked(given.args, () => given.broker);
  const processes = cpus?.length ?? number;
  const descriptors = descriptorsHere();
  const bounds = within(wanted.bounds, processes, descriptors);
  using interrupt = onInterrupt();
  const aborted = new Promise<"interrupted">((resolve) => {
    interrupt.signal.addEventListener("abort", () => resolve("interrupted"));
  });
  const say = (line: string) => console.error(line);
  const connection = await connectBroker(broker, `agent ${name}`, true, interrupt.signal);
  const digest = await loadDigest();
  await using agent = new Agent(connection, { name, digest, bounds, targets, cpus, processes, say });
  const denied = new Promise<Unavailable>((resolve) => {
    follow(connection, {
      onDenied: (sentence) => resolve(new Unavailable(`Agent ${name} cannot work: ${sentence}.`)),
      onDisconnect: () => {
        say(`The broker at ${broker.display} is lost: waiting for it.`);
        agent.end("the broker was lost");
      },
      onReconnect: () => say(`The broker at ${broker.display} is back.`),
    });
  });
  await connection.flush();
  const isLess = bounds.connections < wanted.bounds.connections;
  say(
    `Agent ${name} waits at ${broker.display}: load processes: ${processes}, ` +
      `${described(bounds, isLess ? descriptors : null)}; ` +
      `targets: loopback${targets.cidrs.map((cidr) => `, ${cidr}`).join("")}.`,
  );
  const served = agent.served.then(() => "served" as const);
  const ended = await Promise.race([aborted, denied, connection.closed(), ...(once ? [served] : [])]);
  if (ended instanceof Unavailable) throw ended;
  if (ended === "interrupted") {
    await agent.end("the agent was interrupted");
    await connection.close();
    say("Interrupted.");
    return EXIT.interrupted;
  }
  if (ended !== "served") {
    throw new KnownFailure(
      `The broker at ${broker.display} has closed the connection: ${ended?.message ?? "no reason"}.`,
    );
  }
  await connection.drain().catch((error) => {
    if (!isBrokerLost(error)) throw error; // a broker that is lost takes no last words
  });
  return EXIT.ok;
});
