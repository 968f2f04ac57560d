/**
 * Shows a server under load in a page, with sliders for the load, until the page is closed.
 *
 * deno task live epoll --connections 100
 */
import { type Experiment, findHttp } from "../../lib/catalogue/catalogue.ts";
import { KnownFailure, Unavailable, UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { onInterrupt } from "../../lib/cli/interrupt.ts";
import { liveAssets } from "./assets.ts";
import { liveLimits, serveLive } from "./server.ts";
import { obstacleTo } from "../../lib/catalogue/tools.ts";

const USAGE = `Usage: deno task live <name> [<name>] [--connections 100] [--rate N (requests/s)]
       [--port 0] [--no-open]
       Two servers stand side by side under the same load, in turns. Without --rate each
       connection asks again as soon as it has its answer. The page changes both while it runs.`;
const EXIT_OF = {
  closed: EXIT.ok,
  stopped: EXIT.interrupted,
  skipped: EXIT.unavailable,
  not_ready: EXIT.failed,
  crashed: EXIT.failed,
};

/** The command that opens a page; null where there is no display to open it on. */
function opener(url: string): [command: string, args: string[]] | null {
  if (Deno.build.os === "darwin") return ["open", [url]];
  if (Deno.build.os === "windows") return ["cmd", ["/c", "start", url]];
  const hasDisplay = ["DISPLAY", "WAYLAND_DISPLAY"].some((name) => Deno.env.get(name));
  return hasDisplay ? ["xdg-open", [url]] : null;
}

/** Opens a page. Where that fails, the reader does it. */
async function openPage(url: string): Promise<void> {
  const found = opener(url);
  if (found === null) return console.error("There is no display: open the page in a browser yourself.");
  const [command, args] = found;
  try {
    const { success } = await new Deno.Command(command, { args, stdin: "null", stdout: "null", stderr: "null" })
      .output();
    if (!success) console.error(`${command} did not open a browser: open the page yourself.`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    console.error(`There is no ${command}: open the page in a browser yourself.`);
  }
}

const MOST = 2; // more lines than that nobody tells apart

/** The servers to show. */
function readNames(names: readonly string[]): Experiment[] {
  if (names.length === 0 || names.length > MOST) {
    throw new UsageError("Name one experiment, or two to see them side by side; deno task list shows them all.");
  }
  const experiments = names.map(findHttp);
  if (new Set(names).size < names.length) throw new UsageError(`${names[0]} stands there twice: name another server.`);
  return experiments;
}

/** Serves on a port that the user may have named. */
function onFreePort<T>(port: number, serve: () => T): T {
  try {
    return serve();
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    throw new KnownFailure(`Port ${port} is in use: name another one by --port, or leave it out.`, { cause: error });
  }
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, {
    string: ["connections", "rate", "port"],
    boolean: ["open"],
    negatable: ["open"],
    defaults: { open: true },
  });
  const experiments = readNames(flags._);
  const limits = liveLimits();
  const range = (max: number) => ({ min: 1, max, integer: true });
  const wanted = {
    connections: numberFlag("connections", flags.connections ?? "100", range(limits.connections)),
    rate_per_s: flags.rate === undefined ? null : numberFlag("rate", flags.rate, range(limits.rate_per_s)),
  };
  const port = numberFlag("port", flags.port ?? "0", { min: 0, max: 65535, integer: true });
  for (const experiment of experiments) {
    const obstacle = await obstacleTo(experiment);
    if (obstacle !== null) throw new Unavailable(obstacle);
  }
  using interrupt = onInterrupt();
  const assets = await liveAssets();
  const live = onFreePort(
    port,
    () => serveLive({ experiments, wanted, limits, port, assets, signal: interrupt.signal }),
  );
  const url = `http://127.0.0.1:${live.port}/`;
  const names = experiments.map(({ name }) => name).join(" and ");
  console.log(`${names} ${experiments.length > 1 ? "run" : "runs"} while this page is open: ${url}`);
  if (flags.open) openPage(url);
  const { how, sentence } = await live.ended;
  console.error(sentence);
  return EXIT_OF[how];
});
