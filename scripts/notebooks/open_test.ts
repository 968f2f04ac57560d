import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { settles } from "../../lib/server/process_group.ts";
import { findPython } from "./jupyter.ts";
import { isInstalled } from "../../lib/catalogue/tools.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PATIENCE_MS = 20_000; // only a broken notebook.ts lets it pass
const HAS_JUPYTER = await findPython() !== null && await isInstalled("jupyter-notebook");
const ignore = !HAS_JUPYTER || Deno.build.os === "windows"; // ps; deno task test tells the line that installs it

/** A folder in which the command runs as in the project, and below which Jupyter keeps all it has. */
class Folder {
  readonly path = Deno.makeTempDirSync();
  constructor() {
    Deno.mkdirSync(join(this.path, "notebooks"));
  }
  [Symbol.dispose]() {
    Deno.removeSync(this.path, { recursive: true });
  }
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

function notebook(folder: string, env: Record<string, string> = {}): Deno.Command {
  const script = ["--config", join(ROOT, "deno.json"), join(ROOT, "scripts/notebooks/open.ts")];
  const options = ["--no-browser", "--allow-root", `--port=${freePort()}`];
  const kept = ["DATA", "CONFIG", "RUNTIME"].map((what) => [`JUPYTER_${what}_DIR`, join(folder, what)]);
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--allow-read", "--allow-run", ...script, ...options],
    cwd: folder,
    env: { ...Object.fromEntries(kept), NO_COLOR: "1", ...env },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  });
}

/** The address that Jupyter says it serves, with its token. */
async function serving(stderr: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<URL> {
  let said = "";
  for await (const text of stderr.pipeThrough(new TextDecoderStream())) {
    said += text;
    const url = /http:\/\/127\.0\.0\.1:\d+\/\S*token=\w+(?=\s)/.exec(said);
    if (url !== null) return new URL(url[0]);
  }
  throw new Error(`Jupyter does not serve: ${said}`);
}

/** The processes whose command line contains the text; zombies have none. */
async function processes(text: string): Promise<string[]> {
  const { stdout } = await new Deno.Command("ps", { args: ["-A", "-ww", "-o", "args="] }).output();
  return new TextDecoder().decode(stdout).split("\n").filter((line) => line.includes(text));
}

Deno.test("without Jupyter it says how to install it and ends with 69", async () => {
  using folder = new Folder();
  Deno.writeTextFileSync(join(folder.path, "nbclient.py"), "raise ImportError");
  const { code, stderr } = await notebook(folder.path, { PYTHONPATH: folder.path }).output();
  assertEquals(code, 69);
  const said = new TextDecoder().decode(stderr);
  assertMatch(said, /^Cannot open the notebooks: .*apt-get install -y jupyter-notebook python3-nbclient/);
});

async function assertGone(text: string): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  for (let left = await processes(text); left.length > 0; left = await processes(text)) {
    assert(Date.now() < end, `still there: ${left}`);
  }
}

/** Starts a kernel and returns its id. */
async function startKernel({ origin, searchParams }: URL): Promise<string> {
  const headers = { Authorization: `token ${searchParams.get("token")}` };
  const body = JSON.stringify({ name: "c10k-lab" });
  const response = await fetch(`${origin}/api/kernels`, { method: "POST", headers, body });
  return (await response.json()).id;
}

for (const signal of ["SIGINT", "SIGTERM", "SIGKILL"] as const) {
  Deno.test({ name: `Jupyter starts a kernel that is this Deno, and both end at ${signal}`, ignore }, async () => {
    using folder = new Folder();
    await using child = notebook(folder.path).spawn();
    const url = await serving(child.stderr);
    const kernel = await startKernel(url);
    const ofJupyter = `--port=${url.port}`;
    const [line, ...more] = await processes(kernel);
    assertMatch(line!.replace(Deno.execPath(), "deno"), /^deno jupyter --kernel --conn \S+\.json$/);
    assertEquals(more, []);
    assert((await processes(ofJupyter)).length > 0);
    child.kill(signal);
    if (!await settles(child.status, PATIENCE_MS)) child.kill("SIGKILL");
    for (const text of [kernel, ofJupyter]) await assertGone(text);
  });
}
