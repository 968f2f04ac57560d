/**
 * The system calls that a server makes for one request, as strace(1) sees them.
 *
 * @module
 */
import { join } from "node:path";
import type { Experiment } from "../catalogue/catalogue.ts";
import { experimentCommand, StartError, startServer } from "../server/server.ts";
import { installLine, isInstalled, TOOLS } from "../catalogue/tools.ts";

const REQUESTS = 3; // the first pays for what is compiled then; between the last two is one whole turn
const REQUEST = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: lab\r\n\r\n");
// Only a call that receives begins a request, and only of this one: launchers of peers ask too, whether they answer and how
// many they served.
const RECEIVED = /^\d+\s+(?:read|readv|recv|recvfrom|recvmsg|recvmmsg)\(.*"GET \/ HTTP\/1\.1\\r\\nHost: lab/;

/** Puts the two halves of a call together between which another thread made one. */
function whole(lines: readonly string[]): string[] {
  const open = new Map<string, number>();
  const all: string[] = [];
  for (const line of lines) {
    const [thread] = line.split(" ");
    const resumed = /<\.\.\. \w+ resumed>(.*)$/.exec(line);
    const at = open.get(thread!);
    if (resumed !== null && at !== undefined) all[at] = all[at]!.replace(/ <unfinished \.\.\.>$/, "") + resumed[1];
    else if (resumed === null) {
      if (line.endsWith("<unfinished ...>")) open.set(thread!, all.length);
      all.push(line);
    }
  }
  return all;
}

/**
 * From the text of a trace, one request's calls: what the thread that received it did until it received the next one.
 * Null where no call that receives shows the bytes of a request.
 */
export function callsOfOne(trace: string): string[] | null {
  const lines = whole(trace.trim().split("\n"));
  const asked = lines.flatMap((line, i) => RECEIVED.test(line) ? [i] : []);
  if (asked.length < 2) return null;
  const [from, to] = asked.slice(-2) as [number, number];
  const [thread] = lines[from]!.split(" ");
  return lines.slice(from, to).filter((line) => line.startsWith(`${thread} `)).map((line) =>
    line.slice(thread!.length).trim().replace(/ {2,}/, " ")
  );
}

async function askThrice(port: number): Promise<void> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  for (let i = 0; i < REQUESTS; i++) {
    await conn.write(REQUEST);
    await conn.read(new Uint8Array(1024));
  }
}

/**
 * Runs an experiment under strace(1) and returns the calls of one request on a connection that is kept.
 *
 * @throws {StartError} As `skipped`, if there is no strace(1), or it may not trace here; or if the experiment cannot run.
 */
export async function trace(experiment: Experiment): Promise<string[]> {
  const skip = (reason: string) => new StartError({ ended: "skipped", reason });
  if (!await isInstalled("strace")) {
    throw skip(`The calls are seen by strace: ${installLine(TOOLS.filter(({ command }) => command === "strace"))}`);
  }
  const folder = await Deno.makeTempDir();
  const file = join(folder, "trace");
  try {
    const { command, args, cwd } = experimentCommand(experiment);
    // -D: strace(1) stands aside, the server stays the child that hears the signals.
    const words = ["-D", "-f", "-qq", "-o", file, "-e", "trace=all", "-e", "signal=none", command, ...args];
    const server = await startServer({ command: "strace", args: words, cwd }).catch((error) => {
      throw error instanceof StartError && /ptrace/i.test(error.message) ? skip(error.message) : error;
    });
    try {
      await askThrice(server.port);
    } finally {
      await server.stop();
    }
    const calls = callsOfOne(await Deno.readTextFile(file));
    if (calls === null) throw skip(`No system call of ${experiment.name} receives the bytes of a request.`);
    return calls;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
