/**
 * Makes load on this host for a coordinator on another one.
 *
 * deno task agent --nats nats://10.0.0.1:4222 --allow-target 10.0.0.0/8
 */
import { asked, USAGE } from "./asked.ts";
import { brokerVariables, readBroker } from "../../lib/fleet/address.ts";
import { relaunch } from "../../lib/fleet/relaunch.ts";
import { runScript } from "../../lib/cli/flags.ts";

await runScript(USAGE, async () => {
  const { broker } = asked(Deno.args, (flag, text, flags) => readBroker(flag, text, flags, brokerVariables()));
  return await relaunch({ script: "scripts/agent/serve.ts", net: broker.servers, args: Deno.args, broker });
});
