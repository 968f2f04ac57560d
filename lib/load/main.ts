/**
 * The process of a load generator: takes commands, a line of JSON each, from stdin, and answers on stdout. It ends with
 * stdin, so that it never outlives its parent. Started by child.ts, with what `EngineConfig` says as JSON in its argument.
 *
 * @module
 */
import { UsageError } from "../cli/errors.ts";
import { linesOf } from "../server/launch.ts";
import { Engine } from "./engine.ts";
import { requestFor } from "./request.ts";
import type { Audience } from "./audience.ts";
import type { Stress } from "./stress.ts";
import type {
  AudienceCommand,
  Command,
  EngineConfig,
  Progress,
  Reply,
  StressCommand,
  StressOptions,
  StressPart,
} from "./types.ts";

const encoder = new TextEncoder();

/** Writes a line whole, before anything else happens: a loop of system calls never comes back to the event loop. */
function reply(line: Reply): void {
  for (let rest = encoder.encode(JSON.stringify(line) + "\n"); rest.length > 0;) {
    rest = rest.subarray(Deno.stdout.writeSync(rest));
  }
}

const onProgress = (progress: Progress) => reply({ progress });

// Imported when it is chosen: the epoll engine opens libc of Linux as it loads.
async function startEngine(config: EngineConfig): Promise<Engine> {
  const light = requestFor(config.path, config);
  if (config.engine === "epoll") {
    const { EpollConnections, ownCpuUs } = await import("./epoll.ts");
    return new Engine(config, new EpollConnections(config, light), ownCpuUs, onProgress);
  }
  const { ownCpuUs, PortableConnections } = await import("./portable.ts");
  return new Engine(config, new PortableConnections(config, light), ownCpuUs, onProgress);
}

let stress: Stress | undefined;

async function runStress(config: EngineConfig, options: StressOptions): Promise<StressPart> {
  if (config.engine !== "epoll") throw new UsageError("Stress needs the epoll engine, which runs on Linux only.");
  const { Stress } = await import("./stress.ts");
  stress ??= new Stress(config, requestFor(config.path, config), onProgress);
  return stress.run(options);
}

let audience: Audience | undefined;

async function runAudience(config: EngineConfig, command: AudienceCommand) {
  if (config.engine !== "epoll") throw new UsageError("Listeners need the epoll engine, which runs on Linux only.");
  const { Audience } = await import("./audience.ts");
  audience ??= new Audience(config, onProgress);
  return command.name === "listen" ? audience.listen(command.options) : audience.broadcast(command.options);
}

async function run(engine: Engine, command: Command | StressCommand | AudienceCommand): Promise<void> {
  try {
    const isAudience = command.name === "listen" || command.name === "broadcast";
    const done = command.name === "stress"
      ? await runStress(engine.config, command.options)
      : isAudience
      ? await runAudience(engine.config, command)
      : await engine.run(command);
    reply({ done, clients: engine.connections.clients });
  } catch (error) {
    if (!(error instanceof UsageError)) throw error; // ends this process, and the parent reports stderr
    reply({ refused: error.message });
  }
}

if (import.meta.main) {
  const engine = await startEngine(JSON.parse(Deno.args[0]!));
  reply({ ready: true, clockUs: engine.connections.clockUs() });
  // One command at a time: the parent sends the next one only after the answer. Not awaited, so that the end of stdin is seen.
  for await (const line of linesOf(Deno.stdin.readable)) run(engine, JSON.parse(line));
  engine.drop(); // so that nothing is left in TIME_WAIT
  Deno.exit(0);
}
