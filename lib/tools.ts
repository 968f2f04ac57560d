/**
 * The programs beside Deno that the project can use. Without them it works, but measures and tests less.
 *
 * @module
 */

/** One program. */
export interface Tool {
  command: string;
  /** The package that has it: on Debian and Ubuntu, and, where `everywhere` is set, in Homebrew too. */
  package: string;
  reason: string;
  /** Whether it exists outside of Linux. */
  everywhere?: true;
}

/** All of them, in the order in which `deno task setup` names them. */
export const TOOLS: readonly Tool[] = [
  {
    command: "curl",
    package: "curl",
    reason: "the client that every reader has: a test asks with it",
    everywhere: true,
  },
  { command: "wrk", package: "wrk", reason: "a load generator of others, to check ours against", everywhere: true },
  { command: "prlimit", package: "util-linux", reason: "starts a server that may open few descriptors" },
  { command: "setpriv", package: "util-linux", reason: "lets the kernel end a server whose harness died" },
  { command: "taskset", package: "util-linux", reason: "pins server and load generator to a core each" },
  { command: "ps", package: "procps", reason: "shows whether a process was left behind", everywhere: true },
  {
    command: "strace",
    package: "strace",
    reason: "shows the system calls of an experiment, to see what its file says",
  },
];

/** Tells whether a program is found on the PATH. Needs `--allow-run`; starts it with `--version` to see. */
export async function isInstalled(command: string): Promise<boolean> {
  try {
    await new Deno.Command(command, { args: ["--version"], stdin: "null", stdout: "null", stderr: "null" }).output();
    return true; // whatever it answered: not every program knows --version
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** The programs that exist for this system but are not installed. */
export async function missingTools(tools: readonly Tool[] = TOOLS): Promise<Tool[]> {
  const here = tools.filter((tool) => tool.everywhere || Deno.build.os === "linux");
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
