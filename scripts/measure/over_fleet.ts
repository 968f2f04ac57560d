/**
 * The part of `deno task measure --fleet` that speaks to the broker, which main.ts starts with the network permission for it.
 *
 * @module
 */
import { asked, USAGE } from "./asked.ts";
import { Fleet } from "./fleet.ts";
import { runScript } from "../../lib/cli/flags.ts";
import { onInterrupt } from "../../lib/cli/interrupt.ts";
import { connectBroker } from "../../lib/fleet/broker.ts";
import { resolve } from "../../lib/load/generator.ts";
import { loadDigest } from "../../lib/results/lab.ts";
import { measureAndTell } from "../../lib/run/measure.ts";

await runScript(USAGE, async () => {
  const { subject, options, fleet: wanted, json, save } = asked(Deno.args);
  const { broker, agents, waitSeconds } = wanted!;
  const target = { host: subject.host!, addresses: await resolve(subject.host!), port: subject.port! };
  const digest = await loadDigest();
  using interrupt = onInterrupt();
  const connection = await connectBroker(broker, "coordinator", false);
  await using fleet = await Fleet.gather(connection, {
    broker: broker.display,
    agents,
    target,
    digest,
    waitSeconds,
    signal: interrupt.signal,
  });
  fleet.checkBounds(options);
  console.error(fleet.describe());
  return await measureAndTell(subject, options, { json, save }, fleet);
});
