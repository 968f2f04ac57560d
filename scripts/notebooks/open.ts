/**
 * Opens the notebooks in Jupyter, with a kernel that is this Deno. Ctrl-C ends Jupyter and its kernels.
 *
 * deno task notebook [option of Jupyter…]
 */
import { Unavailable } from "../../lib/cli/errors.ts";
import { runScript } from "../../lib/cli/flags.ts";
import { findPython, INSTALL_JUPYTER, installKernel } from "./jupyter.ts";
import { isInstalled } from "../../lib/catalogue/tools.ts";

const USAGE = `Usage: deno task notebook [option of Jupyter…]
       Opens the notebooks in Jupyter, with a kernel that is this Deno. Ctrl-C ends
       Jupyter and its kernels. Its own options: deno task notebook -- --help`;

// Jupyter ends its kernels on SIGTERM only. It gets one when standard input ends: at Ctrl-C, or when the script is no more.
const LAUNCH = `
exec 3<&0
jupyter-notebook "$@" --ip=127.0.0.1 &
(read -r line <&3; kill -s TERM $!) &
wait %1`;

/** Runs Jupyter until it ends, or until this process is to end. */
async function runJupyter(args: string[]): Promise<number> {
  const cwd = "notebooks";
  if (Deno.build.os === "windows") { // no shell, but Ctrl-C reaches every process of the console
    return (await new Deno.Command("jupyter-notebook", { args: [...args, "--ip=127.0.0.1"], cwd }).spawn().status).code;
  }
  const words = ["-c", LAUNCH, "sh", ...args];
  const jupyter = new Deno.Command("sh", { args: words, cwd, stdin: "piped", detached: true }).spawn();
  let ending: Promise<void> | null = null;
  const end = () => void (ending ??= jupyter.stdin.close());
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) Deno.addSignalListener(signal, end);
  return (await jupyter.status).code;
}

await runScript(USAGE, async () => {
  const python = await findPython();
  if (python === null || !await isInstalled("jupyter-notebook")) {
    throw new Unavailable(`Cannot open the notebooks: Jupyter Notebook is missing. Install it: ${INSTALL_JUPYTER}`);
  }
  console.error(`The kernel is in ${await installKernel(python)}`);
  return await runJupyter(Deno.args[0] === "--" ? Deno.args.slice(1) : Deno.args);
}, Deno.args.slice(0, 1));
