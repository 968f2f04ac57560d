/**
 * Measures a custom server, which knows nothing of this project: holds it, loads it, stores what came out.
 *
 * deno task measure --name mine -- node server.js
 * deno task measure --name mine --url http://127.0.0.1:3000 --pid 4711
 */
import { catalogue } from "../lib/catalogue/catalogue.ts";
import { UsageError } from "../lib/cli/errors.ts";
import { parseFlags, runScript } from "../lib/cli/flags.ts";
import { fitting, MEASURE_FLAGS, MEASURE_USAGE, measureAndTell, readMeasureOptions } from "../lib/run/measure.ts";
import { moreDescriptors } from "../lib/sampling/shell_limits.ts";
import { commandBehind, readCustom } from "../lib/server/custom.ts";

const USAGE =
  `Usage: deno task measure --name NAME [flags] -- <command>…     it is told its port by PORT in its environment
       deno task measure --name NAME [flags] --port N -- <command>…   it listens on a port of its own choice
       deno task measure --name NAME [flags] --url http://127.0.0.1:PORT [--pid N]
Flags: ${MEASURE_USAGE}
The host is 127.0.0.1, [::1] or localhost.
GET / is asked for. Without a pid CPU time and memory are not known, and stand as such.`;

await runScript(USAGE, async () => {
  const { own, words } = commandBehind(Deno.args);
  const flags = parseFlags(own, { ...MEASURE_FLAGS, string: [...MEASURE_FLAGS.string, "name", "url", "pid", "port"] });
  if (flags._.length > 0) throw new UsageError(`Unexpected ${flags._[0]}: the command stands behind --.`);
  const options = readMeasureOptions(flags);
  if (options.scenarios?.includes("mixed")) throw new UsageError("mixed needs /work, which only experiments have.");
  const subject = readCustom(flags, words, catalogue().map(({ name }) => name));
  if (flags.url !== undefined && flags["server-cores"] !== undefined) {
    throw new UsageError("--server-cores belongs to a server that is started here; one at a --url runs where it runs.");
  }
  const more = Deno.build.os === "linux" && words !== null ? moreDescriptors(Deno.pid) : null;
  if (more !== null) console.error(more);
  return await measureAndTell(subject, fitting(subject, options), flags);
});
