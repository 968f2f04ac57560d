/**
 * Runs all checks: format, lint, types and tests. It ends with the first that fails.
 *
 * deno task ok
 */
import { runScript } from "../lib/cli/flags.ts";

const USAGE = `Usage: deno task ok [argument of deno task test]…
       Runs deno fmt --check, deno lint, deno check and deno task test, and ends with
       the exit code of the first that fails.`;
const CHECKS = [["fmt", "--check"], ["lint"], ["check"]];

/** Runs Deno until it ends. */
async function deno(args: readonly string[]): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), { args: [...args], stdin: "null" }).spawn();
  const onSignal = () => child.kill("SIGTERM"); // it ends its tests, and this process with its code
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTERM", onSignal);
  const { code } = await child.status;
  if (Deno.build.os !== "windows") Deno.removeSignalListener("SIGTERM", onSignal);
  return code;
}

await runScript(USAGE, async () => {
  for (const args of [...CHECKS, ["task", "test", ...Deno.args]]) {
    const code = await deno(args);
    if (code !== 0) return code;
  }
  return 0;
});
