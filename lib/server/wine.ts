/**
 * The Windows build of Deno on Linux, under Wine: a test can start there what needs Windows.
 *
 * Two things stand between Deno and Wine 8: Deno imports `ProcessPrng` of bcryptprimitives.dll, which that Wine does not
 * have, and V8 takes its `VirtualAlloc2` for one that keeps all the promises of Windows. So a copy of deno.exe gets a library
 * of three lines beside it, and a name it does not find in place of the other: then V8 takes the way of older systems.
 *
 * The copy, and a Windows of about 700 MB for it, are made once, in a folder of the user's cache. Whoever runs something gets a
 * prefix of its own, which shares the files of that Windows but neither its registry nor its processes: so one run can end
 * all that it has started, and no other one is touched.
 *
 * @example
 * ```ts
 * await using wine = await Wine.start();
 * await using server = await startServer(wine.command({ command: Deno.execPath(), args: ["run", "server.ts"] }));
 * ```
 *
 * @module
 */
import type { ServerCommand } from "./server.ts";
import { installLine, missingTools, TOOLS } from "../catalogue/tools.ts";

/** The release of Deno that runs under Wine. */
const DENO_VERSION = "2.9.5";
/** Part of the folder's name: another way of preparing makes another folder. */
const RECIPE = 1;
/** Whether there can be a Wine here that runs deno.exe, which is built for x86-64. */
export const HAS_WINE = Deno.build.os === "linux" && Deno.build.arch === "x86_64";
const PROGRAMS = ["wine", "x86_64-w64-mingw32-gcc"];

// What both ends of it need: no messages, no dialogs, no window, no entries in the menus of the desktop.
const ENV = {
  WINEARCH: "win64",
  WINEDEBUG: "-all",
  WINEDLLOVERRIDES: "bcryptprimitives=n;mscoree,mshtml,winemenubuilder.exe=",
  DISPLAY: "",
};

// SystemFunction036 is the name under which advapi32 exports RtlGenRandom of <ntsecapi.h>.
const SHIM = `
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length) { return SystemFunction036(data, (ULONG)length); }
`;

// Deno installs packages of npm by itself, for any system. Everything happens in a new folder, which then gets its name in one
// step: an interrupted process leaves nothing that looks complete, and of two at once one is the first, and both have it.
const PREPARE = `
set -eu
root=\${XDG_CACHE_HOME:-$HOME/.cache}/c10k-lab/wine
home=$root/$1-$(wine --version | tr -c 'a-zA-Z0-9.\\n' -)
if [ -d "$home" ]; then echo "$home"; exit; fi
mkdir -p "$root"
new=$(mktemp -d "$root/new-XXXXXX")
trap 'rm -rf "$new"' EXIT
cd "$new"
mkdir download
printf '{"dependencies":{"@deno/win32-x64":"%s"}}' "$2" >download/package.json
(cd download && DENO_DIR=$new/download/deno "$3" install --no-lock --quiet) >&2
LC_ALL=C sed 's/VirtualAlloc2/VirtualAlloc_/' download/node_modules/@deno/win32-x64/deno.exe >deno.exe
printf '%s' "$4" | x86_64-w64-mingw32-gcc -shared -s -x c - -o bcryptprimitives.dll -ladvapi32 >&2
export WINEPREFIX="$new/prefix"
wine wineboot --init >&2
wineserver -k || [ $? -eq 1 ] # 1: it has ended already
wineserver -w
rm -rf download
mv -T "$new" "$home" 2>/dev/null || [ -d "$home" ]
echo "$home"`;

const MAKE_PREFIX = `
set -eu
prefix=$(mktemp -d -t c10k-lab-XXXXXX)
cp "$1"/prefix/*.reg "$1"/prefix/.update-timestamp "$prefix"
mkdir "$prefix/dosdevices"
ln -s "$1/prefix/drive_c" "$prefix/dosdevices/c:"
ln -s / "$prefix/dosdevices/z:"
echo "$prefix"`;

// wineserver -k: SIGKILL to all processes of the prefix. It fails where none is left.
const REMOVE_PREFIX = `
wineserver -k
wineserver -w
rm -rf "$WINEPREFIX"`;

/** What `Wine.start` throws. */
export class WineError extends Error {
  override readonly name = "WineError";
}

/** Runs a script of sh and returns the last line that it printed. What it says on stderr is shown if it fails. */
async function sh(script: string, args: string[], env: Record<string, string> = {}): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", script, "sh", ...args],
    env: { ...ENV, NO_COLOR: "1", ...env },
    stdin: "null",
  }).output();
  const [said, complained] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes).trimEnd());
  if (code !== 0) throw new WineError(`Wine could not be prepared: ${complained || `code ${code}`}`);
  return said!.slice(said!.lastIndexOf("\n") + 1);
}

/** Why Wine cannot be used here; null if it can. Needs `--allow-run`. */
export async function wineObstacle(): Promise<string | null> {
  if (!HAS_WINE) return `deno.exe runs under Wine on Linux x86_64, and this is ${Deno.build.target}.`;
  const missing = await missingTools(TOOLS.filter(({ command }) => PROGRAMS.includes(command)));
  return missing.length > 0 ? `${missing[0]!.command} is missing: ${installLine(missing)}` : null;
}

/** Windows, as long as it is needed. Needs `--allow-run`. */
export class Wine implements AsyncDisposable {
  readonly #home: string;
  readonly #prefix: string;

  private constructor(home: string, prefix: string) {
    this.#home = home;
    this.#prefix = prefix;
  }

  /**
   * Prepares it, which takes about half a minute and a download the first time, and nothing later.
   *
   * @param env Added to the environment of what prepares it.
   * @throws {WineError} If a step fails, as where there is no network: tells what the step has said.
   */
  static async start(env: Record<string, string> = {}): Promise<Wine> {
    const name = `deno-${DENO_VERSION}-recipe-${RECIPE}`;
    const home = await sh(PREPARE, [name, DENO_VERSION, Deno.execPath(), SHIM], env);
    return new Wine(home, await sh(MAKE_PREFIX, [home]));
  }

  /**
   * The command that starts under Windows what `command` starts here. Its program must be Deno; paths may stay as they are.
   * Windows has no SIGTERM, but Wine makes Ctrl-C of a SIGINT. The id of the process is the one of Linux; inside, where
   * `Deno.pid` is asked, it has another one.
   */
  command({ args, env, ...rest }: ServerCommand): ServerCommand {
    return {
      ...rest,
      command: "wine",
      args: [`${this.#home}/deno.exe`, ...args],
      env: { ...env, ...ENV, WINEPREFIX: this.#prefix, DENO_NO_UPDATE_CHECK: "1" },
      stopSignal: "SIGINT",
      keepsDaemons: true, // the wineserver of the first program serves those that come later
    };
  }

  /** Ends every process that is left, and waits until it is gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    await sh(REMOVE_PREFIX, [], { WINEPREFIX: this.#prefix });
  }
}
