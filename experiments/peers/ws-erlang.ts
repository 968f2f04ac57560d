/**
 * @title      ws-erlang: a process of the BEAM for each listener
 * @family     push
 * @question   What does a message to all cost if each listener is a process, and the message goes to the mailbox of
 *             each?
 * @idea       A process of the BEAM holds a connection. One more, the room, gets a message that is framed already, and puts
 *             it into the mailbox of each; a frame of over 64 bytes lies outside of all heaps, and only a reference is
 *             sent. Each process writes what its mailbox has, by one writev(2).
 * @prediction A delivery costs 2 to 6 times the CPU that it costs in ws-epoll: a mailbox, a process that wakes, and a
 *             call.
 * @expect     broadcast(1000).cpu_us_per_delivery > 2 * ws-epoll
 *             broadcast(1000).cpu_us_per_delivery < 6 * ws-epoll
 * @compare    ws-epoll, ws-go, ws-threads, erlang-tcp
 * @requires   linux 2.6.32
 * @needs      erlc (erlang-base), setpriv (util-linux)
 * @version    erl -noshell -eval io:put_chars(erlang:system_info(system_version)),halt().
 * @fairness   As many scheduler threads as the affinity of the process leaves cores; they sleep when there is nothing to
 *             do and do not spin first (+sbwt none), as in containers. gen_tcp with its driver; a socket is active once for
 *             each receive. Frames are read and unmasked in Erlang, without a library; the runtime checks UTF-8 in C. What
 *             the driver has taken counts as delivered: it queues up to 8 KiB. The launcher sleeps beside it, and is not
 *             counted.
 * @run        deno run --allow-read --allow-write --allow-run --allow-env --allow-ffi ws-erlang.ts --port 8080
 * @try        deno eval 'const s = new WebSocket("ws://127.0.0.1:8080"); s.onopen = () => s.send("Hi"); s.onmessage = console.log'
 * @simplified IPv4 only. No extensions, no subprotocols; Origin and Host are not checked. Texts only, up to 65 535
 *             bytes. A text is checked frame by frame. The digest of a handshake is computed in Erlang, as the library
 *             that has it is a package of its own.
 * @sources    gen_tcp, inet, erl (erlang.org/doc); erts/emulator/beam/erl_message.c of OTP; RFC 6455 (WebSocket)
 */
import { parseArgs } from "node:util";
const EXPERIMENT = "ws-erlang";

// ---- Limits --------------------------------------------------------------------------------------------------------

const STOP_MS = 3000; // when it is ended by force; it ends by itself after less

// ---- Build: once, into a cache folder; again when a source or the compiler has changed ------------------------------

const SOURCE = "erlang/ws_erlang.erl";
const COMPILE = ["erlc", "+deterministic", "-Wall", "-Werror"];
const INSTALL = "apt-get install -y erlang-base util-linux";

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

/** Compiles unless that was done before, and returns the folder of it. Two that build at once do not disturb each other. */
async function build(): Promise<string> {
  const source = `${import.meta.dirname}/${SOURCE}`;
  const compiler = Deno.realPathSync(await run("sh", ["-c", "command -v erlc"])); // another one may make other code
  const inputs = [...COMPILE, compiler, String(Deno.statSync(compiler).mtime), Deno.readTextFileSync(source)];
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(inputs.join("\0")));
  const home = Deno.env.get("HOME"), caches = Deno.env.get("XDG_CACHE_HOME") || (home && `${home}/.cache`);
  if (!caches) unavailable("it is built into a cache folder: set HOME or XDG_CACHE_HOME.");
  const folder = `${caches}/c10k-lab/peers/${EXPERIMENT}-${new Uint8Array(digest).toHex().slice(0, 16)}`;
  const exists = () =>
    Deno.stat(folder).then(() => true, (error) => {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    });
  if (!await exists()) {
    const temporary = `${folder}.${Deno.pid}`;
    Deno.mkdirSync(temporary, { recursive: true });
    const [command, ...flags] = COMPILE;
    await run(command!, [...flags, "-o", temporary, source]);
    await Deno.rename(temporary, folder).catch(async (error) => {
      if (!await exists()) throw error;
      Deno.removeSync(temporary, { recursive: true }); // another was faster: a folder does not replace a full one
    });
  }
  return folder;
}

/** Runs a command to its end, and returns what it has written. */
async function run(command: string, args: string[]): Promise<string> {
  const child = new Deno.Command(command, { args, stdin: "null", stdout: "piped", stderr: "piped" });
  const { success, stdout, stderr } = await child.output().catch((error) => {
    if (error instanceof Deno.errors.NotFound) unavailable(`${command} is not installed: ${INSTALL}`);
    throw error;
  });
  const said = new TextDecoder().decode(stdout);
  if (success) return said.trim();
  if (command === "sh") unavailable(`erlc is not installed: ${INSTALL}`);
  console.error(`${[command, ...args].join(" ")} failed: ${said}${new TextDecoder().decode(stderr)}`);
  return Deno.exit(1);
}

// ---- The architecture: the machine beside this process, which hears the signals --------------------------------------

const MACHINE = [
  ...["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"], // a scheduler without work sleeps at once
  ...["-noshell", "-noinput", "-boot", "start_clean"],
  // What ends a process by an error is said on stderr: on stdout there is room for two lines only.
  ...["-kernel", "logger", "[{handler,default,logger_std_h,#{config=>#{type=>standard_error}}}]"],
];

/**
 * Starts the machine. It cannot hear SIGINT, so this process hears all signals and passes SIGTERM on; and it gets a
 * session of its own, so that Ctrl-C reaches this process only. The kernel ends it when this process ends, however that
 * happens: PR_SET_PDEATHSIG of prctl(2).
 */
function launch(folder: string, host: string, port: string): Deno.ChildProcess {
  const main = ["-pa", folder, "-s", "ws_erlang", "start", "-extra", host, port];
  const args = ["--pdeathsig", "KILL", "erl", ...MACHINE, ...main];
  return new Deno.Command("setpriv", { args, detached: true, stdin: "null", stdout: "inherit", stderr: "inherit" })
    .spawn();
}

/** Sends a signal. Where the machine has just ended by itself, there is nothing left to do. */
function send(machine: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    machine.kill(signal);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
}

async function serve(folder: string, host: string, port: string): Promise<number> {
  let signals = 0;
  const onSignal = () => {
    if (++signals > 1) Deno.exit(1); // the second signal does not wait
    send(machine, "SIGTERM");
    setTimeout(() => send(machine, "SIGKILL"), STOP_MS);
  };
  const machine = launch(folder, host, port);
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, onSignal);
  Deno.addSignalListener("SIGUSR1", () => send(machine, "SIGUSR1"));
  const { code } = await machine.status;
  return code;
}

// ---- Command line --------------------------------------------------------------------------------------------------

const IPV4 = /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}$/;

function readOptions(): { host: string; port: string } {
  try {
    const { values: { host, port } } = parseArgs({
      args: Deno.args,
      options: { port: { type: "string", default: "8080" }, host: { type: "string", default: "127.0.0.1" } },
    });
    if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) throw new Error(`--port ${port} is not a port (0..65535).`);
    if (!IPV4.test(host)) throw new Error(`--host ${host} is not an IPv4 address.`);
    return { host, port };
  } catch (error) {
    console.error(`${(error as Error).message}\nUsage: ${EXPERIMENT} [--port N] [--host ADDRESS]`);
    Deno.exit(2);
  }
}

if (import.meta.main) {
  const { host, port } = readOptions();
  if (Deno.build.os !== "linux") unavailable(`its source is written for Linux, this is ${Deno.build.os}.`);
  try {
    Deno.exit(await serve(await build(), host, port));
  } catch (error) {
    // Not permitted, or copied without the source that stands beside it.
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound) unavailable(error.message);
    throw error;
  }
}
