/** Commands that make a network of their own: what they say where they cannot, and what they leave behind. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { EXIT } from "../lib/cli/exit.ts";
import { networkObstacle } from "../lib/network/namespaces.ts";
import { PATIENCE_MS, until } from "../lib/testing/client.ts";
import { project, ROOT, RunningTask } from "../lib/testing/task.ts";
import { BPF_KINDS, bpfObjects } from "../lib/testing/traces.ts";

const obstacle = await networkObstacle();
const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name: obstacle === null ? name : `${name} (${obstacle})`, ignore: obstacle !== null, fn });

const LONG = ["xdp", "--scenario", "throughput", "--connections", "4", "--seconds", "60", "--no-save"];

for (const signal of ["SIGKILL", "SIGINT"] as const) {
  test(`${signal} to a run over a wire leaves no process, and no program, map or link of bpf(2)`, async () => {
    using dir = project();
    const before = new Set(bpfObjects());
    await using running = new RunningTask("exp", LONG, dir.path);
    await running.hear(/throughput 4: closed/);
    const ours = bpfObjects().filter((object) => !before.has(object));
    for (const kind of BPF_KINDS) assert(ours.some((object) => object.startsWith(kind)), `${kind}: ${ours}`);
    assert(running.leftovers().some((line) => line.includes("cat")), "a process holds the namespaces");
    running.signal(signal);
    const { code, stderr } = await running.end();
    if (signal === "SIGINT") assertEquals(code, EXIT.interrupted, stderr);
    await until(() => running.leftovers().length === 0, PATIENCE_MS, "the processes to be gone"); // with them the namespaces
    await until(() => !bpfObjects().some((object) => ours.includes(object)), PATIENCE_MS, `${ours} to be gone`);
  });
}

test("without the right to make namespaces a run is skipped with the reason, and exits as unavailable", async () => {
  const script = fileURLToPath(new URL("exp.ts", import.meta.url));
  const withoutRight = ["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", Deno.execPath(), "run", "-A"];
  const { code, stdout, stderr } = await new Deno.Command("setpriv", {
    args: [...withoutRight, "--config", `${ROOT}deno.json`, script, "xdp", "--quick", "--no-save"],
  }).output();
  const [shown, said] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  assertEquals(code, EXIT.unavailable, said);
  assertMatch(
    shown!.replaceAll(/\s+/g, " "),
    /nothing was measured, xdp needs a network of its own: no network namespace can be made/,
  );
});
