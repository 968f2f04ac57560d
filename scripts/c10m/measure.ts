/**
 * One run of c10m in a network that is there: server, crowd, and what is read of both.
 *
 * @module
 */
import type { Experiment } from "../../lib/catalogue/catalogue.ts";
import { count } from "../../lib/text/format.ts";
import { cpuUs } from "../../lib/sampling/process.ts";
import { isInstalled } from "../../lib/catalogue/tools.ts";
import type { Network } from "../../lib/network/namespaces.ts";
import { experimentCommand, type Server, startServer } from "../../lib/server/server.ts";
import type { ClientPlan, Progress } from "./client.ts";
import { anonymousBytes } from "./memory.ts";

/** What a run needs. */
export interface RunPlan {
  network: Network;
  experiment: Experiment;
  /** The file of the client. */
  client: string;
  connections: number;
  holdS: number;
  /** One core for the server, one for its clients. */
  cores: { server: number; load: number };
  clientInterface: string;
  kernelAddress: string;
  serverMac: string;
  /** Ends it. */
  signal: AbortSignal;
  say(line: string): void;
}

/** What all of the crowd did. */
export interface PhaseOutcome {
  name: string;
  seconds: number;
  done: number;
  /** CPU time of both processes for each connection; what the kernel does for them in softirq is not in it. */
  serverCpuUs: number;
  clientCpuUs: number;
}

/** What wrk, a client of the kernel, saw of the server. */
export interface KernelClient {
  requestsPerS: number;
  p99Us: number;
}

/** What came of a run. */
export interface Outcome {
  connections: number;
  mode: string;
  phases: PhaseOutcome[];
  /** Connections that were open, with nothing in flight, after all had asked for the last time. */
  held: number;
  answered: number;
  lost: number;
  losses: Record<string, number>;
  /** What the server counted besides answers. */
  serverErrors: Record<string, number>;
  /** Before there were any other connections, and while all of them were held; null without wrk(1). */
  kernelClient: { alone: KernelClient; beside: KernelClient } | null;
  retransmissions: number;
  /** Anonymous memory of the server for each connection: what it has with all of them, less what it has for one. */
  serverBytesPerConnection: number;
}

const SPARE = 1000; // slots of the table for the kernel's client
const WRK_CONNECTIONS = 100;
const WRK_S = 5;
const WINDOW = 512; // connections that wait for something at a time: their packets fit into the server's fill ring
const FIRST_ADDRESS = "10.1.0.0";
const PHASES = [["ask", "connect and ask"], ["ask", "ask again"], ["close", "close"]] as const;
/** How often each connection asks. */
export const ASKS = PHASES.filter(([command]) => command === "ask").length;
/** The phase behind which all are held with nothing in flight. */
const LAST_ASK = PHASES.findLastIndex(([command]) => command === "ask");

/** Starts xdp with a table for so many connections. */
function serve({ network, experiment, cores }: RunPlan, connections: number): Promise<Server> {
  const args = [
    "--interface",
    network.interface,
    "--address",
    network.address,
    "--connections",
    String(connections + SPARE),
  ];
  return startServer(network.server.command(experimentCommand(experiment, args)), { cpu: cores.server });
}

/** The memory of a server that can hold one connection: what it takes before there are any. */
async function baseBytes(plan: RunPlan): Promise<number> {
  await using server = await serve(plan, 1);
  return anonymousBytes(server.pid);
}

/** Ends a process that may have ended. */
function killChild(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // it has ended
  }
}

/** The client's process: it takes commands and reports its progress. */
class Client implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: AsyncIterator<Progress>;

  /** The process that spends the CPU time. */
  get pid(): number {
    return this.#child.pid;
  }

  constructor(plan: RunPlan, server: Server) {
    const argument: ClientPlan = {
      interface: plan.clientInterface,
      connections: plan.connections,
      window: WINDOW,
      server: { address: plan.network.address, port: server.port, mac: plan.serverMac },
      firstAddress: FIRST_ADDRESS,
      kernelAddress: plan.kernelAddress,
    };
    const { command, args } = plan.network.client.command({
      command: "taskset",
      args: [
        ...["-c", String(plan.cores.load), Deno.execPath(), "run", "--no-config", "--allow-ffi"],
        ...[plan.client, JSON.stringify(argument)],
      ],
    });
    this.#child = new Deno.Command(command, { args, stdin: "piped", stdout: "piped", stderr: "inherit" }).spawn();
    this.#input = this.#child.stdin.getWriter();
    this.#lines = readProgress(this.#child.stdout);
  }

  async next(): Promise<Progress> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error("The client has ended before its time.");
    return value;
  }

  async command(line: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(`${line}\n`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close();
    killChild(this.#child); // in the middle of a phase it would hear of no end of its commands
    await this.#child.status;
    await this.#lines.return?.();
  }
}

/** The lines of the client. */
async function* readProgress(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<Progress> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) yield JSON.parse(line) as Progress;
  }
}

/** One line of progress: how many, how fast, how long yet. */
export function progressLine(
  name: string,
  { done, lost, losses, seconds }: Progress,
  connections: number,
): string {
  const rate = seconds > 0 ? done / seconds : 0;
  const leftS = rate > 0 ? Math.ceil((connections - done - lost) / rate) : null;
  const parts = [`${name}: ${count(done)} of ${count(connections)}`, `${count(Math.round(rate))}/s`];
  if (leftS !== null) parts.push(`${count(leftS)} s left`);
  if (lost > 0) parts.push(`${count(lost)} lost (${Object.keys(losses).join(", ")})`);
  return parts.join(", ");
}

const US: Record<string, number> = { us: 1, ms: 1000, s: 1_000_000 };

/** Reads what wrk says with --latency. */
export function parseWrk(said: string): KernelClient {
  const [, value, unit] = /^ *99% +([\d.]+)(us|ms|s)$/m.exec(said) ?? [];
  const rate = /^Requests\/sec: +([\d.]+)$/m.exec(said)?.[1];
  if (value === undefined || rate === undefined || /Socket errors|Non-2xx/.test(said)) {
    throw new Error(`wrk said: ${said}`);
  }
  return { requestsPerS: Number(rate), p99Us: Number(value) * US[unit!]! };
}

/** Has wrk ask for some seconds, on the client's core. */
async function runWrk({ network, cores }: RunPlan, { port }: Server): Promise<KernelClient> {
  const wrk = ["wrk", "-t1", `-c${WRK_CONNECTIONS}`, `-d${WRK_S}s`, "--latency", `http://${network.address}:${port}/`];
  return parseWrk(await network.client.run("taskset", ["-c", String(cores.load), ...wrk]));
}

/** Has all of the crowd do something, and says how far they are. */
async function runPhase(client: Client, plan: RunPlan, command: string, name: string): Promise<Progress> {
  await client.command(command);
  for (;;) {
    const progress = await client.next();
    plan.say(progressLine(name, progress, plan.connections));
    plan.signal.throwIfAborted();
    if (progress.event === "over") return progress;
  }
}

/** Runs all phases. */
export async function measure(plan: RunPlan): Promise<Outcome> {
  const base = await baseBytes(plan);
  await using server = await serve(plan, plan.connections);
  await using client = new Client(plan, server);
  const { mode } = await client.next();
  const hasWrk = await isInstalled("wrk");
  if (hasWrk) await runWrk(plan, server); // until the server's code is compiled, as it is later
  const alone = hasWrk ? await runWrk(plan, server) : null;
  let beside: KernelClient | null = null;
  const phases: PhaseOutcome[] = [];
  let held = 0;
  let serverBytes = 0;
  let last: Progress | null = null;
  for (const [i, [command, name]] of PHASES.entries()) {
    const before = [cpuUs(server.pid)!, cpuUs(client.pid)!];
    last = await runPhase(client, plan, command, name);
    const [serverCpuUs, clientCpuUs] = [server.pid, client.pid].map((pid, of) =>
      (cpuUs(pid)! - before[of]!) / last!.done
    );
    phases.push({ name, seconds: last.seconds, done: last.done, serverCpuUs: serverCpuUs!, clientCpuUs: clientCpuUs! });
    if (i === 0) {
      serverBytes = anonymousBytes(server.pid);
      plan.say(`holding ${count(last.held!)} connections for ${plan.holdS} s`);
      await new Promise((resolve) => setTimeout(resolve, plan.holdS * 1000)); // the length of the measurement
      if (hasWrk) beside = await runWrk(plan, server);
    }
    if (i === LAST_ASK) held = last.held!;
  }
  const { answered, lost, losses, packets } = last!;
  const { stopped } = await server.stop();
  return {
    ...{ connections: plan.connections, mode, phases, held, answered, lost, losses },
    serverErrors: stopped?.errors ?? {},
    kernelClient: alone !== null && beside !== null ? { alone, beside } : null,
    retransmissions: packets.retransmissions!,
    serverBytesPerConnection: (serverBytes - base) / plan.connections,
  };
}
