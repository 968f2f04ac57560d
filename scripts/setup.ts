/**
 * Installs the programs that the project can use (lib/catalogue/tools.ts) where apt-get is; elsewhere says which to install by hand.
 *
 * deno task setup
 */
import { UsageError } from "../lib/cli/errors.ts";
import { parseFlags, runScript } from "../lib/cli/flags.ts";
import { installLine, isInstalled, missingTools } from "../lib/catalogue/tools.ts";

/** Runs apt-get as root and without questions; ends the process if it fails. */
async function aptGet(args: string[]): Promise<void> {
  const root = Deno.uid() === 0 ? [] : ["sudo", "-n"]; // -n: it fails where it would ask for a password
  const [command, ...rest] = [...root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", ...args];
  const { code } = await new Deno.Command(command!, { args: rest, stdin: "null" }).spawn().status;
  if (code === 0) return;
  console.error(`Cannot install: ${[command, ...rest].join(" ")} ended with code ${code}.`);
  Deno.exit(1);
}

await runScript("Usage: deno task setup", async () => {
  if (parseFlags(Deno.args, {})._.length > 0) throw new UsageError("setup takes no names.");
  let missing = await missingTools();
  if (missing.length === 0) {
    console.log("Every program is installed already.");
    return 0;
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
    console.error(`Install by hand: ${installLine(missing)}`);
    return 1;
  }
  console.log("Every program is installed.");
  return 0;
});
