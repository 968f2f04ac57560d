import { assert, assertEquals, assertRejects } from "@std/assert";
import { unlessGone } from "../sampling/process.ts";
import { listProc, readProc } from "../sampling/procfs.ts";
import { type ServerCommand, startServer } from "./server.ts";
import { Wine, WineError, wineObstacle } from "./wine.ts";

const obstacle = await wineObstacle();
const underWine = obstacle === null ? Deno.test : Deno.test.ignore;

/** A server of Windows: it tells its system as the name of its experiment, and ends at Ctrl-C. */
const SERVER = `
const ready = { event: "ready", experiment: Deno.build.os, port: 1, pid: Deno.pid };
Deno.addSignalListener("SIGINT", () => {
  console.log(JSON.stringify({ event: "stopped", accepted: 0, served: 0, errors: {} }));
  Deno.exit(0);
});
console.log(JSON.stringify(ready));
setInterval(() => {}, 1000);`;

const command = (wine: Wine): ServerCommand => wine.command({ command: Deno.execPath(), args: ["eval", SERVER] });

/** The living processes of a Wine: of what bears such a name, its prefix stands in the environment. */
function processesOf(wine: Wine): number[] {
  const { WINEPREFIX } = command(wine).env!;
  const read = (pid: string, what: string) => unlessGone(() => readProc(`/proc/${pid}/${what}`)) ?? "";
  return listProc("/proc")
    .filter((name) => /^\d+$/.test(name) && /wineserver|\.exe\b/.test(read(name, "cmdline")))
    .filter((name) => read(name, "environ").includes(WINEPREFIX!))
    .map(Number);
}

underWine("a server of Windows runs under Wine, and takes a SIGINT for Ctrl-C", async () => {
  await using wine = await Wine.start();
  await using server = await startServer(command(wine));
  assertEquals(server.ready.experiment, "windows");
  const { stopped, code, signal } = await server.stop();
  assertEquals([stopped?.event, code, signal], ["stopped", 0, null]);
});

underWine("of a Wine that is disposed of no process is left, and those of another go on", async () => {
  await using other = await Wine.start();
  await using server = await startServer(command(other));
  const wine = await Wine.start();
  await startServer(command(wine));
  assert(processesOf(wine).length >= 2); // with the wineserver
  await wine[Symbol.asyncDispose]();
  assertEquals(processesOf(wine), []);
  assert(processesOf(other).includes(server.pid));
});

underWine("what cannot be prepared is reported with its reason", async () => {
  const path = Deno.makeTempFileSync();
  try {
    await assertRejects(() => Wine.start({ XDG_CACHE_HOME: path }), WineError, path);
  } finally {
    Deno.removeSync(path);
  }
});
