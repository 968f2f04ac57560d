/**
 * Shows servers under load in a page, with sliders for the load, until the page is closed; one that pushes, by a chat.
 *
 * deno task live epoll --connections 100
 * deno task live epoll thread-per-conn
 * deno task live ws-epoll
 */
import { type Experiment, find, speaksHttp } from "../../lib/catalogue/catalogue.ts";
import { KnownFailure, Unavailable, UsageError } from "../../lib/cli/errors.ts";
import { EXIT } from "../../lib/cli/exit.ts";
import { numberFlag, parseFlags, runScript } from "../../lib/cli/flags.ts";
import { onInterrupt } from "../../lib/cli/interrupt.ts";
import { StartError } from "../../lib/server/server.ts";
import { chatAssets, liveAssets } from "./assets.ts";
import { serveChat } from "./chat.ts";
import { liveLimits, serveLive } from "./server.ts";
import type { Ending } from "./wire.ts";
import { obstacleTo } from "../../lib/catalogue/tools.ts";

const USAGE = `Usage: deno task live <name> [<name>] [--connections 100]
       [--rate N (requests/s)] [--port 0] [--no-open]
Two servers stand side by side under the same load, in turns. Without --rate
each connection asks again as soon as it has its answer. The page changes both
while it runs. A server of the family push has a page to chat by.
Every 5 s, between two measured seconds, a server that can report them is asked
for its open connections. What that costs: deno task probe stats-line`;
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

const MOST = 2; // more lines than that are hard to distinguish
const LOAD = ["connections", "rate"] as const; // flags that a chat has no use for

const isChat = (experiment: Experiment) => !speaksHttp(experiment);

/** The servers to show. */
function readNames(names: readonly string[]): Experiment[] {
  if (names.length === 0 || names.length > MOST) {
    throw new UsageError("Name one experiment, or two to see them side by side; deno task list shows them all.");
  }
  if (new Set(names).size < names.length) throw new UsageError(`${names[0]} is named twice: name another server.`);
  const experiments = names.map((name) => find(name));
  const chatting = experiments.find(isChat);
  if (chatting === undefined || names.length === 1) return experiments;
  throw new UsageError(`${chatting.name} speaks WebSocket: it is shown alone, with a page to chat by.`);
}

/** Serves on a port that the user may have named. */
async function onFreePort<T>(port: number, serve: () => T | Promise<T>): Promise<T> {
  try {
    return await serve();
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    throw new KnownFailure(`Port ${port} is in use: name another one by --port, or leave it out.`, { cause: error });
  }
}

/** What the user asked for. */
function readOptions() {
  const flags = parseFlags(Deno.args, {
    string: [...LOAD, "port"],
    boolean: ["open"],
    negatable: ["open"],
    defaults: { open: true },
  });
  const experiments = readNames(flags._);
  const limits = liveLimits();
  const range = (max: number) => ({ min: 1, max, integer: true });
  const useless = isChat(experiments[0]!) ? LOAD.find((name) => flags[name] !== undefined) : undefined;
  if (useless !== undefined) throw new UsageError(`--${useless} is for servers that answer HTTP requests.`);
  const wanted = {
    connections: numberFlag("connections", flags.connections ?? "100", range(limits.connections)),
    rate_per_s: flags.rate === undefined ? null : numberFlag("rate", flags.rate, range(limits.rate_per_s)),
  };
  const port = numberFlag("port", flags.port ?? "0", { min: 0, max: 65535, integer: true });
  return { experiments, limits, wanted, port, opens: flags.open };
}

type Options = ReturnType<typeof readOptions>;

/** Serves the page, and says where it is. */
async function serve({ experiments, limits, wanted, port }: Options, signal: AbortSignal) {
  const names = experiments.map(({ name }) => name).join(" and ");
  if (isChat(experiments[0]!)) {
    const assets = await chatAssets();
    const { port: at, ended } = await onFreePort(
      port,
      () => serveChat({ experiment: experiments[0]!, port, assets, signal }),
    );
    return { line: `${names} runs until its last page is closed: http://127.0.0.1:${at}/`, at, ended };
  }
  const assets = await liveAssets();
  const { port: at, ended } = await onFreePort(
    port,
    () => serveLive({ experiments, wanted, limits, port, assets, signal }),
  );
  const run = experiments.length > 1 ? "run" : "runs";
  return { line: `${names} ${run} while this page is open: http://127.0.0.1:${at}/`, at, ended };
}

/** Serves, and waits for the end. */
async function show(options: Options): Promise<Ending> {
  using interrupt = onInterrupt();
  try {
    const { line, at, ended } = await serve(options, interrupt.signal);
    console.log(line);
    if (options.opens) openPage(`http://127.0.0.1:${at}/`);
    return await ended;
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    return { how: error.failure.ended, sentence: error.failure.reason };
  }
}

await runScript(USAGE, async () => {
  const options = readOptions();
  for (const experiment of options.experiments) {
    const obstacle = await obstacleTo(experiment);
    if (obstacle !== null) throw new Unavailable(obstacle);
  }
  const { how, sentence } = await show(options);
  console.error(sentence);
  return EXIT_OF[how];
});
