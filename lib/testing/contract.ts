/**
 * Runs checks of the contract against experiments: one server for the checks that leave nothing behind, others where a check
 * needs one of its own. Each check becomes a test of each experiment.
 *
 * Where a header says `@cannot id sentence`, the check of that id is turned round: it has to fail, so that no header
 * claims a weakness that its architecture does not have. With `--require-all` among the arguments of the test (behind
 * `--`), what would be passed over fails.
 *
 * @module
 */
import { readProc } from "../sampling/procfs.ts";
import { assert, assertEquals, AssertionError, assertNotEquals } from "@std/assert";
import { basename, join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { type Experiment, speaksHttp, wholeCatalogue } from "../catalogue/catalogue.ts";
import { processTree } from "../sampling/process.ts";
import {
  experimentCommand,
  type Server,
  type ServerCommand,
  type ServerOptions,
  signalIfAlive,
  StartError,
  type StartFailure,
  startServer,
} from "../server/server.ts";
import { installLine, missingTools, TOOLS, unobtainable } from "../catalogue/tools.ts";
import type { Ability } from "./abilities.ts";
import { type Answer, BrokenPromise, Client, PATIENCE_MS, until, within } from "./client.ts";
import { folder } from "./folder.ts";
import { serverEnd } from "./sockets.ts";
import type { Wine } from "../server/wine.ts";
import { findGround, type WireGround } from "./ground.ts";
import { WebSocketClient } from "./websocket.ts";

/** What cannot be checked of a server that runs under Wine. */
const NOT_UNDER_WINE: Partial<Record<Ability, string>> = {
  "recover-emfile": "not under Wine: prlimit bounds the files of Wine itself, not the handles of Windows",
  "wait-at-emfile": "not under Wine: prlimit bounds the files of Wine itself, not the handles of Windows",
};

/** Workers asked for where an experiment has some: enough for the checks, and quickly started. */
export const WORKERS = 4;
const ONLY = "--only=";
const REQUIRE_ALL = Deno.args.includes("--require-all");
const DOUBT_MS = 500; // how long the absence of what `@cannot` names is watched
const CHANCES = 10; // to be broken, of a promise that is kept now and then by chance
const STOP_TRIES = 5, STOP_LATE_MS = 700;
const PASS_ON_MS = 20; // a parent that goes on has passed a signal on by then, but for a busy machine

/** One experiment under test, with the server that all checks share which leave nothing behind. */
export class Lab {
  constructor(
    readonly experiment: Experiment,
    readonly args: string[],
    readonly wine: Wine | null,
    readonly shared: Server,
    readonly patienceMs: number = PATIENCE_MS,
    readonly wire: WireGround | null = null,
  ) {}

  /** Whether the header says so. */
  cannot(id: Ability): boolean {
    return Object.hasOwn(this.experiment.cannot, id);
  }

  /** The command that starts it with these options in addition. */
  command(options: string[] = []): ServerCommand {
    return this.here(experimentCommand(this.experiment, [...this.args, ...options]));
  }

  /** The same command, but under Wine or behind a wire if the experiment needs it. */
  here(command: ServerCommand): ServerCommand {
    return this.wine?.command(command) ?? this.wire?.command(command) ?? command;
  }

  /** Makes a check where its clients have to be. */
  holds(check: Check): Promise<void> {
    return this.wire === null ? check.holds(this) : this.wire.inside(() => check.holds(this));
  }

  /** Starts a server of its own for a check that ends it, limits it or counts what it did. */
  fresh(options?: ServerOptions): Promise<Server> {
    return startServer(this.command(), options);
  }

  /** The target of a request that takes `us` µs of CPU; `/` where the server has no work to give. */
  work(us: number): string {
    return this.cannot("burn-cpu") ? "/" : `/work/${us}`;
  }

  connect(port = this.shared.port): Promise<Client> {
    return Client.connect(port, this.patienceMs);
  }

  /** One request on a connection of its own. */
  async ask(target: string, port = this.shared.port): Promise<Answer> {
    using client = await this.connect(port);
    return await client.ask(target);
  }

  /**
   * Starts a copy of the experiment in which something is changed, such as a limit that no test can wait for. Its folder
   * is removed with the server.
   *
   * @param edit Makes the text of the copy. It must not leave the text as it is.
   */
  async changed(edit: (source: string) => string): Promise<AsyncDisposable & { server: Server }> {
    const source = Deno.readTextFileSync(this.experiment.path), text = edit(source);
    assertNotEquals(text, source, "nothing was changed");
    const place = folder(), path = join(place.path, basename(this.experiment.path));
    Deno.writeTextFileSync(path, text);
    try {
      const server = await startServer(this.here(experimentCommand({ ...this.experiment, path }, this.args)));
      const dispose = async () => {
        await server[Symbol.asyncDispose]();
        place[Symbol.dispose]();
      };
      return { server, [Symbol.asyncDispose]: dispose };
    } catch (error) {
      place[Symbol.dispose]();
      throw error;
    }
  }

  /** Begins what takes long. Behind a wire a round trip shows that its clients are connected. */
  async begins(check: Check): Promise<void> {
    if (check.begins === undefined) return;
    if (this.wire === null) return check.begins(this);
    await this.wire.inside(async () => {
      check.begins!(this);
      await this.ask("/");
    });
  }

  /**
   * Waits until the server has taken all that a client has sent.
   *
   * @throws {BrokenPromise} If it has ended the connection.
   */
  async taken(client: Client, port = this.shared.port): Promise<void> {
    if (Deno.build.os === "linux" && this.wire === null) {
      const isTaken = () => {
        const end = serverEnd(port, client.port);
        if (end === null) throw new BrokenPromise("The server has ended the connection.");
        return end.unread === 0;
      };
      await until(isTaken, this.patienceMs, "the server to take what was sent");
    }
    await this.turn(port); // between recv(2) and what the server makes of it, another client is served
  }

  /** Whether a server can be held up, and its end of connections looked at meanwhile: by signals and sockets of Linux. */
  get standsStill(): boolean {
    return Deno.build.os === "linux" && this.wine === null && this.wire === null;
  }

  /** Holds up a server while something happens, so that it finds all of that at once, and what follows is no race. */
  async atOnce(happens: () => Promise<void>, server = this.shared): Promise<void> {
    if (!this.standsStill) return await happens();
    server.signalAll("SIGSTOP");
    try {
      await until(() => processTree(server.leaderPid)!.every(isStopped), this.patienceMs, "the server to stand still");
      await happens();
      for (const pid of processTree(server.leaderPid) ?? []) {
        signalIfAlive(pid, "SIGCONT"); // parents first: what they pass on is there before a child goes on
        await new Promise((resolve) => setTimeout(resolve, PASS_ON_MS));
      }
    } finally {
      server.signalAll("SIGCONT");
    }
  }

  /**
   * Lets the server turn its loop: another client is served meanwhile, so what was sent before is very likely read.
   * Nothing where one client holds up all others.
   */
  async turn(port = this.shared.port): Promise<void> {
    if (!speaksHttp(this.experiment)) (await WebSocketClient.open(port))[Symbol.dispose]();
    else if (!this.cannot("serve-others")) hello(await this.ask("/", port));
  }
}

/** One promise of the contract. */
export interface Check {
  /** The end of a sentence that starts with the name of the experiment. */
  says: string;
  /** What a header that does not keep the promise writes behind `@cannot`. */
  id?: Ability;
  /** A program that the check needs. */
  needs?: "curl" | "wrk" | "prlimit" | "taskset";
  /** What a server must speak to be checked; `http` where it is left out. */
  speaks?: "http" | "websocket" | "any";
  /** Reads /proc, or limits the process: Linux only. */
  linux?: true;
  /** Asks a server to stop. */
  stops?: true;
  /** A server that does not promise it may keep it now and then by chance. */
  byChance?: true;
  /** Starts a changed copy: for experiments, not for peers. */
  copies?: true;
  /** Whether there is such a thing in the source; true where it is left out. */
  concerns?(source: string): boolean;
  /** What takes long, started before the first test; `holds` awaits it. */
  begins?(lab: Lab): void;
  /** @throws {BrokenPromise | AssertionError} If the promise is not kept. */
  holds(lab: Lab): Promise<void>;
}

/** Whether a process stands still, or has ended: its state stands behind the name, which may have any character. */
function isStopped(pid: number): boolean {
  try {
    return /\) [TZ] /.test(readProc(`/proc/${pid}/stat`));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return true;
    throw error;
  }
}

/** The answer to `/` and to `/work/N`. */
export const hello = (answer: Answer) => assertEquals([answer.status, answer.body], [200, "Hello World"]);

/** An answer that refuses: its body is empty. */
export const refused = (answer: Answer, status: number) => assertEquals([answer.status, answer.body], [status, ""]);

/** Runs a program to its end. */
export async function run(command: string, args: string[], options: Pick<ServerCommand, "cwd" | "env"> = {}) {
  const env = { ...options.env, NO_COLOR: "1" };
  const child = new Deno.Command(command, { ...options, args, env, stdout: "piped", stderr: "piped" }).spawn();
  try {
    const { code, stdout, stderr } = await within(
      child.output(),
      PATIENCE_MS,
      `the end of ${command} ${args.join(" ")}`,
    );
    return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}

/** Why a check cannot be made of this experiment on this system, whatever is installed; null if it can. */
function impossible({ id, stops }: Check, { wine }: Lab): string | null {
  if (stops && Deno.build.os === "windows") return "on Windows a signal from another process is a kill";
  return (wine && id && NOT_UNDER_WINE[id]) ?? null;
}

/** Why a check cannot be made here; null if it can. */
async function obstacle({ linux, needs }: Check): Promise<string | null> {
  if (linux && Deno.build.os !== "linux") return "it needs Linux";
  const missing = await missingTools(TOOLS.filter((tool) => tool.command === needs));
  return missing.length > 0 ? `${needs} is missing: ${installLine(missing)}` : null;
}

/**
 * Makes a check of how a server of its own stops. It has a second for what is in flight: a failure at the end of that shows
 * nothing where a busy machine leaves the server no CPU, so all is tried again.
 *
 * @param check Calls `asks` just before it asks the server to stop.
 */
export async function inItsSecond(lab: Lab, check: (server: Server, asks: () => void) => Promise<void>): Promise<void> {
  for (let tries = 1;; tries++) {
    await using server = await lab.fresh();
    let sinceMs = Infinity;
    try {
      return await check(server, () => sinceMs = performance.now());
    } catch (error) {
      if (tries === STOP_TRIES || performance.now() < sinceMs + STOP_LATE_MS) throw error;
    }
  }
}

/** Registers a test that is passed over for a reason. Under --require-all it fails with that reason. */
function passOver(name: string, reason: string, required = REQUIRE_ALL): void {
  const fn = () => {
    throw new Error(reason);
  };
  const [firstLine] = stripVTControlCharacters(reason).split("\n");
  Deno.test({ name: `${name} (${firstLine})`, ignore: !required, fn });
}

/** Whether a promise is kept this time. */
async function isKept(check: Check, lab: Lab): Promise<boolean> {
  try {
    await lab.holds(check);
    return true;
  } catch (error) {
    if (!(error instanceof BrokenPromise || error instanceof AssertionError)) throw error;
    return false;
  }
}

/** Makes sure that a promise is not kept, or not always, and that the server is none the worse. */
async function isBroken(check: Check, lab: Lab): Promise<void> {
  const doubtful = new Lab(lab.experiment, lab.args, lab.wine, lab.shared, DOUBT_MS, lab.wire);
  let kept = true; // so far each time
  for (let i = 0; kept && i < (check.byChance ? CHANCES : 1); i++) kept = await isKept(check, doubtful);
  assert(!kept, `The header says that it cannot, but it ${check.says}.`);
  const serves = async () => {
    if (speaksHttp(lab.experiment)) hello(await lab.ask("/"));
    else (await WebSocketClient.open(lab.shared.port))[Symbol.dispose]();
  };
  await (lab.wire === null ? serves() : lab.wire.inside(serves));
}

/** Starts the server that the checks share. */
async function open(
  experiment: Experiment,
  { wine, wire }: { wine: Wine | null; wire: WireGround | null },
): Promise<Lab | StartFailure> {
  const hasWorkers = Deno.readTextFileSync(experiment.path).includes("[--workers N]");
  const args = hasWorkers ? ["--workers", String(WORKERS)] : [];
  const start = (run: string) => {
    const command = experimentCommand({ ...experiment, run }, args);
    return startServer(wine?.command(command) ?? wire?.command(command) ?? command);
  };
  try {
    return new Lab(experiment, args, wine, await start(experiment.run), PATIENCE_MS, wire);
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    if (error.failure.ended !== "skipped") return error.failure;
    // It says that it cannot run here. If it can once all is permitted, then its @run line names too little.
    try {
      await using _server = await start(`deno run -A ${experiment.name}.ts`);
      return { ended: "crashed", reason: `It runs with -A, but not by its @run line: ${error.failure.reason}` };
    } catch (again) {
      if (again instanceof StartError) return error.failure;
      throw again;
    }
  }
}

/** Registers a test for each check of one experiment. */
async function testOne(experiment: Experiment, all: Check[]): Promise<void> {
  const { name } = experiment;
  const language = speaksHttp(experiment) ? "http" : "websocket";
  const checks = all.filter(({ speaks = "http" }) => speaks === "any" || speaks === language);
  if (checks.length === 0) return;
  const ground = await findGround(experiment);
  if ("reason" in ground) return passOver(`${name} keeps the contract`, ground.reason, REQUIRE_ALL && ground.isOurs);
  const lab = await open(experiment, ground);
  const leave = async () => {
    await ground.wine?.[Symbol.asyncDispose]();
    await ground.wire?.[Symbol.asyncDispose]();
  };
  if (!(lab instanceof Lab)) {
    await leave();
    const isExcused = lab.ended === "skipped" && (!REQUIRE_ALL || await unobtainable(experiment) !== null);
    return passOver(`${name} keeps the contract`, lab.reason, !isExcused);
  }
  Deno.test.afterAll(async () => {
    await lab.shared[Symbol.asyncDispose]();
    await leave();
  });
  // The shared server outlives each test, so the end of one that dies would be taken for a leak of the next.
  const shared = { sanitizeOps: false, sanitizeResources: false };
  const source = Deno.readTextFileSync(experiment.path);
  for (const check of checks) {
    if ((check.copies && experiment.peer) || check.concerns?.(source) === false) continue;
    if (impossible(check, lab) === null && await obstacle(check) === null) await lab.begins(check);
    const never = impossible(check, lab);
    const reason = never ?? await obstacle(check);
    const id = check.id !== undefined && lab.cannot(check.id) ? check.id : null;
    if (reason !== null) passOver(`${name} ${check.says}`, reason, REQUIRE_ALL && never === null);
    else if (id === null) Deno.test({ ...shared, name: `${name} ${check.says}`, fn: () => lab.holds(check) });
    else {
      const says = `indeed cannot ${id}: ${experiment.cannot[id]}`;
      Deno.test({ ...shared, name: `${name} ${says}`, fn: () => isBroken(check, lab) });
    }
  }
}

/** The experiments whose names stand behind `--only=`, joined by commas; all of them without that argument. */
export function chosen(): Experiment[] {
  const names = Deno.args.find((arg) => arg.startsWith(ONLY))?.slice(ONLY.length).split(",");
  return wholeCatalogue().filter(({ name }) => names === undefined || names.includes(name));
}

/**
 * Registers tests of all checks for all experiments, or with `--own` or `--peers` among the arguments for that half of
 * them, or with `--only=epoll,select` for those. A header that is incomplete or out of order ends it with an error.
 */
export async function testAll(checks: Check[]): Promise<void> {
  const halves = { "--own": false, "--peers": true };
  const half = Object.entries(halves).find(([flag]) => Deno.args.includes(flag))?.[1];
  for (const experiment of chosen()) {
    if (half === undefined || experiment.peer === half) await testOne(experiment, checks);
  }
}
