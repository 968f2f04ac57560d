/**
 * Measures a custom server, which knows nothing of this project: holds it, loads it, stores what came out.
 *
 * deno task measure --name mine -- node server.js
 * deno task measure --name mine --url http://127.0.0.1:3000 --pid 4711
 * deno task measure --name mine --url http://10.0.0.1:80 --fleet nats://10.0.0.2:4222 --agents 4
 */
import { isIP } from "node:net";
import { asked, USAGE } from "./asked.ts";
import { runScript } from "../../lib/cli/flags.ts";
import { say } from "../../lib/cli/progress.ts";
import { brokerVariables, readBroker } from "../../lib/fleet/address.ts";
import { relaunch } from "../../lib/fleet/relaunch.ts";
import { measureAndTell } from "../../lib/run/measure.ts";
import { moreDescriptors } from "../../lib/sampling/shell_limits.ts";

await runScript(USAGE, async () => {
  const { subject, options, fleet, json, save } = asked(
    Deno.args,
    (flag, text, flags) => readBroker(flag, text, flags, brokerVariables()),
  );
  const more = Deno.build.os === "linux" && subject.words !== null ? moreDescriptors(Deno.pid) : null;
  if (more !== null) say(more);
  if (fleet === null) return await measureAndTell(subject, options, { json, save });
  const host = subject.host!;
  const { broker } = fleet;
  const net = [...broker.servers, ...(isIP(host) > 0 ? [] : [host])]; // a name is resolved here
  const script = "scripts/measure/over_fleet.ts";
  return await relaunch({ script, net, write: ["results"], args: Deno.args, broker });
});
