/**
 * The part of `deno task measure --fleet` that speaks to the broker, which main.ts starts with the network permission for it.
 *
 * @module
 */
import { asked, USAGE } from "./asked.ts";
import { checkBounds } from "./bounds.ts";
import { runScript } from "../../lib/cli/flags.ts";
import { onInterrupt } from "../../lib/cli/interrupt.ts";
import { connectBroker } from "../../lib/fleet/broker.ts";
import { Fleet } from "../../lib/fleet/coordinator.ts";
import { relaunched } from "../../lib/fleet/relaunch.ts";
import { resolve } from "../../lib/load/generator.ts";
import { loadDigest } from "../../lib/results/lab.ts";
import { measureAndTell } from "../../lib/run/measure.ts";

await runScript(USAGE, async () => {
  const given = await relaunched();
  const { subject, options, fleet: wanted, json, save } = asked(given.args, () => given.broker);
  const { broker, agents, waitSeconds } = wanted!;
  const target = { host: subject.host!, addresses: await resolve(subject.host!), port: subject.port! };
  const digest = await loadDigest();
  using interrupt = onInterrupt();
  const connection = await connectBroker(broker, "coordinator", false, interrupt.signal);
  await using fleet = await Fleet.gather(connection, {
    broker: broker.display,
    agents,
    target,
    digest,
    waitSeconds,
    signal: interrupt.signal,
  });
  const { bounds } = fleet;
  checkBounds(options, bounds);
  console.error(fleet.describe());
  const say = (sentence: string) => console.error(sentence);
  return await measureAndTell(subject, { ...options, bounds, say }, { json, save }, fleet);
});
