/**
 * The programs beside Deno that the project can use. Without them it works, but measures and tests less.
 *
 * @module
 */

import { catalogue, type Experiment, runsHere } from "./catalogue.ts";

/** One program, library or header. */
export interface Tool {
  command: string;
  /** The package that has it: on Debian and Ubuntu, and, where `everywhere` is set, in Homebrew too. */
  package: string;
  reason: string;
  /** Whether it exists outside of Linux. */
  everywhere?: true;
  /** The only architecture that it is for, as in `Deno.build.arch`. */
  arch?: string;
}

/** What the project itself can use, in the order in which `deno task setup` names them. */
export const TOOLS: readonly Tool[] = [
  {
    command: "curl",
    package: "curl",
    reason: "the client that every reader has: a test asks with it",
    everywhere: true,
  },
  { command: "wrk", package: "wrk", reason: "a load generator of others, to check ours against", everywhere: true },
  {
    command: "h2load",
    package: "nghttp2-client",
    reason: "another load generator, to check ours against twice",
    everywhere: true,
  },
  { command: "prlimit", package: "util-linux", reason: "starts a server that may open few descriptors" },
  { command: "setpriv", package: "util-linux", reason: "lets the kernel end a server whose harness died" },
  { command: "taskset", package: "util-linux", reason: "pins server and load generator to a core each" },
  { command: "ip", package: "iproute2", reason: "joins the network namespaces that servers with kernel bypass need" },
  { command: "ps", package: "procps", reason: "shows whether a process was left behind", everywhere: true },
  {
    command: "strace",
    package: "strace",
    reason: "shows the system calls of an experiment, to see what its file says",
  },
  { command: "chromium", package: "chromium", reason: "shows pages to tests, as a reader's browser does" },
  { command: "wine", package: "wine", reason: "runs the experiment that needs Windows", arch: "x86_64" },
  {
    command: "x86_64-w64-mingw32-gcc",
    package: "gcc-mingw-w64-x86-64",
    reason: "builds a Windows library that Deno needs and Wine lacks",
    arch: "x86_64",
  },
  { command: "jupyter-notebook", package: "jupyter-notebook", reason: "opens the notebooks in a browser" },
  {
    command: "jupyter-execute",
    package: "python3-nbclient",
    reason: "comes with nbclient, which runs the notebooks as a test",
  },
  {
    command: "nats-server",
    package: "nats-server",
    reason: "the broker between hosts that make load together: tests start one",
    everywhere: true,
  },
  { command: "npx", package: "npm", reason: "fetches other versions of Deno, to compare them", everywhere: true },
];

/** What the headers of experiments name in `@needs`, each once; of those experiments whose system this is. */
export function toolsOf(experiments: readonly Experiment[]): Tool[] {
  const all = experiments.filter((experiment) => runsHere(experiment).runs).flatMap(({ name, needs }) =>
    needs.flatMap((need): Tool[] =>
      need.package === null ? [] : [{
        command: need.thing,
        package: need.package,
        reason: `needed by ${name}`,
        ...(!isLibrary(need.thing) && !isHeader(need.thing) && { everywhere: true }),
      }]
    )
  );
  return [...Map.groupBy(all, ({ command }) => command).values()].map(([first]) => first!);
}

/** Why an experiment does not run here, from its system and from what it needs; null if it does. Permissions as above. */
export async function obstacleTo(experiment: Experiment): Promise<string | null> {
  const here = runsHere(experiment);
  const { name } = experiment;
  if (!here.runs) return here.reason;
  const missing = await missingTools(toolsOf([experiment]));
  if (missing.length > 0) {
    return `${name} needs ${missing.map(({ command }) => command).join(" and ")}: ${installLine(missing)}`;
  }
  const absent = await unobtainable(experiment);
  return absent === null ? null : `${name} needs ${absent}, of which Debian has no package.`;
}

/** What of an experiment's needs is missing and cannot be installed from a package; null if there is nothing. */
export async function unobtainable({ needs }: Experiment): Promise<string | null> {
  if (Deno.build.os !== "linux") return null; // libraries and headers are those of Linux
  for (const { thing, package: name } of needs) if (name === null && !await isInstalled(thing)) return thing;
  return null;
}

const isLibrary = (thing: string) => /^lib.+\.so(\.\d+)?$/.test(thing);
const isHeader = (thing: string) => thing.endsWith(".h");

/**
 * Tells whether a program is found on the PATH: it is started to see, and ended before it does anything. A name such as
 * `libuv.so.1` is a library that the loader must find, one such as `liburing.h` a header under /usr/include. Needs
 * `--allow-run`, for libraries `--allow-ffi`, for headers `--allow-read`.
 */
export async function isInstalled(command: string): Promise<boolean> {
  if (isHeader(command)) return await Deno.stat(`/usr/include/${command}`).then(() => true, ifNotFound);
  if (isLibrary(command)) return canLoad(command);
  try {
    const child = new Deno.Command(command, { args: ["--version"], stdin: "null", stdout: "null", stderr: "null" })
      .spawn();
    stop(child);
    await child.status;
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Ends a program, as some take half a second of CPU for their version. One that is root's by now, as sudo, ends by itself. */
function stop(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch (error) {
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
  }
}

function ifNotFound(error: unknown): boolean {
  if (error instanceof Deno.errors.NotFound) return false;
  throw error;
}

function canLoad(library: string): boolean {
  try {
    Deno.dlopen(library, {}).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return false; // dlopen(3) says in prose only why: not found, or not of this architecture
  }
}

/** Whatever the project and its experiments can use. Needs `--allow-read` and `--allow-sys=osRelease`. */
const allTools = (): Tool[] => [...TOOLS, ...toolsOf(catalogue())];

/** Those that exist for this system but are not installed. Permissions as for `isInstalled`. */
export async function missingTools(tools: readonly Tool[] = allTools()): Promise<Tool[]> {
  const { os, arch } = Deno.build;
  const here = tools.filter((tool) => (tool.everywhere || os === "linux") && (tool.arch ?? arch) === arch);
  const installed = await Promise.all(here.map((tool) => isInstalled(tool.command)));
  return here.filter((_, i) => !installed[i]);
}

/**
 * The line with which a person installs them.
 *
 * ```ts
 * installLine(await missingTools(), "linux"); // apt-get install -y wrk
 * ```
 */
export function installLine(tools: readonly Tool[], os: string = Deno.build.os): string {
  const packages = [...new Set(tools.map((tool) => tool.package))].join(" ");
  if (os === "linux") {
    return `apt-get install -y ${packages} (Debian, Ubuntu; elsewhere the packages of the same programs)`;
  }
  return os === "darwin" ? `brew install ${packages}` : `install ${packages} and put them on the PATH`;
}
