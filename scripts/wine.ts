/**
 * Runs the Windows build of Deno under Wine, with the arguments that are given. The first time it is fetched and prepared.
 *
 * deno task wine run --allow-ffi experiments/iocp.ts --port 8080
 */
import { Wine, wineObstacle } from "../lib/server/wine.ts";

/** Runs Deno until it ends and returns its exit code. */
async function runUnderWine(args: string[]): Promise<number> {
  const obstacle = await wineObstacle();
  if (obstacle !== null) {
    console.error(`Cannot run Windows programs here: ${obstacle}`);
    return 69; // EX_UNAVAILABLE of <sysexits.h>
  }
  await using wine = await Wine.start();
  const { command, args: words, env } = wine.command({ command: Deno.execPath(), args });
  const child = new Deno.Command(command, { args: words, env: env! }).spawn();
  // Ctrl-C of the terminal reaches the child as well, so here it is only not to end this process before the child.
  Deno.addSignalListener("SIGINT", () => {});
  Deno.addSignalListener("SIGTERM", () => child.kill("SIGINT"));
  return (await child.status).code;
}

Deno.exit(await runUnderWine(Deno.args));
