/**
 * Runs the Windows build of Deno under Wine, with the arguments that are given. The first time it is fetched and prepared.
 *
 * deno task wine run --allow-ffi experiments/iocp.ts --port 8080
 */
import { Unavailable, UsageError } from "../lib/cli/errors.ts";
import { runScript } from "../lib/cli/flags.ts";
import { Wine, wineObstacle } from "../lib/server/wine.ts";

const USAGE = `Usage: deno task wine <argument of Deno>…
       Runs Deno for Windows under Wine: deno task wine run --allow-ffi experiments/iocp.ts
       It ends with the exit code of that Deno.`;

/** Runs Deno until it ends and returns its exit code. */
async function runUnderWine(args: string[]): Promise<number> {
  const obstacle = await wineObstacle();
  if (obstacle !== null) throw new Unavailable(`Cannot run Windows programs here: ${obstacle}`);
  await using wine = await Wine.start();
  const { command, args: words, env } = wine.command({ command: Deno.execPath(), args });
  const child = new Deno.Command(command, { args: words, env: env! }).spawn();
  // Ctrl-C of the terminal reaches the child as well, so here it is only not to end this process before the child.
  Deno.addSignalListener("SIGINT", () => {});
  Deno.addSignalListener("SIGTERM", () => child.kill("SIGINT"));
  return (await child.status).code;
}

await runScript(USAGE, async () => {
  const args = Deno.args[0] === "--" ? Deno.args.slice(1) : Deno.args;
  if (args.length === 0) throw new UsageError("Say what Deno is to do.");
  return await runUnderWine(args);
}, Deno.args.slice(0, 1));
