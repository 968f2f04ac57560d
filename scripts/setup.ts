/**
 * Installs the programs that the project can use (lib/catalogue/tools.ts) where apt-get is; elsewhere says which to install by hand.
 *
 * deno task setup
 */
import { KnownFailure, Unavailable, UsageError } from "../lib/cli/errors.ts";
import { EXIT } from "../lib/cli/exit.ts";
import { shellQuote } from "../lib/cli/shell.ts";
import { parseFlags, runScript } from "../lib/cli/flags.ts";
import { installLine, isInstalled, missingTools } from "../lib/catalogue/tools.ts";

const USAGE = `Usage: deno task setup
       Installs the programs that tests and measurements can use by apt-get, as root or
       with sudo; elsewhere it says which to install by hand.`;

/**
 * Runs apt-get as root and without questions.
 *
 * @throws {KnownFailure} If it fails.
 */
async function aptGet(args: string[]): Promise<void> {
  const root = Deno.uid() === 0 ? [] : ["sudo", "-n"]; // -n: it fails where it would ask for a password
  const [command, ...rest] = [...root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", ...args];
  const { code } = await new Deno.Command(command!, { args: rest, stdin: "null" }).spawn().status;
  if (code === 0) return;
  throw new KnownFailure(`Cannot install: ${shellQuote([command!, ...rest])} ended with exit code ${code}.`);
}

await runScript(USAGE, async () => {
  if (parseFlags(Deno.args, {})._.length > 0) throw new UsageError("setup takes no names.");
  let missing = await missingTools();
  if (missing.length === 0) {
    console.log("Every program is installed already.");
    return EXIT.ok;
  }
  for (const { command, reason } of missing) console.log(`Missing: ${command}, ${reason}.`);
  const mayInstall = Deno.build.os === "linux" && await isInstalled("apt-get") &&
    (Deno.uid() === 0 || await isInstalled("sudo"));
  if (mayInstall) {
    await aptGet(["update", "-qq"]);
    await aptGet(["install", "-y", "-qq", "--no-install-recommends", ...new Set(missing.map((tool) => tool.package))]);
    missing = await missingTools();
  }
  if (missing.length > 0) {
    throw new Unavailable(`Install by hand: ${installLine(missing)}`);
  }
  console.log("Every program is installed.");
  return EXIT.ok;
});
