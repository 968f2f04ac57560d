/** A server whose output cannot be written, as on a full disk, goes on, and counts that. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { delay } from "@std/async";
import { join } from "node:path";
import { catalogue } from "../lib/catalogue/catalogue.ts";
import { isInstalled, obstacleTo } from "../lib/catalogue/tools.ts";
import { experimentCommand } from "../lib/server/server.ts";
import { bypassesKernel } from "../lib/server/subject.ts";
import { PATIENCE_MS, until, within } from "../lib/testing/client.ts";
import { folder } from "../lib/testing/folder.ts";

const ignore = Deno.build.os !== "linux" || !await isInstalled("prlimit");
const READY_MS = 120_000; // a peer may compile its source and what it stands on first
/** The signal would end a process whose file is as long as it may be; ignored, it makes write(2) fail with EFBIG. */
const APPENDING = 'trap "" XFSZ; exec "$@" >> "$OUTPUT"';

/** The last line of a file that is whole. */
const lastLine = (path: string) => JSON.parse(Deno.readTextFileSync(path).split("\n").at(-2) ?? "{}");

/** Bounds the files of processes: that of the launcher of a peer, and that of its program. Either may be the one that prints. */
async function bound(pids: number[], bytes: number | "unlimited"): Promise<void> {
  for (const pid of new Set(pids)) {
    const args = ["--pid", String(pid), `--fsize=${bytes}:`]; // the soft limit alone: it can be raised again
    const { success, stderr } = await new Deno.Command("prlimit", { args }).output();
    assert(success, new TextDecoder().decode(stderr));
  }
}

for (const experiment of catalogue().filter((of) => !bypassesKernel(of))) {
  const obstacle = await obstacleTo(experiment);
  Deno.test({
    name: `${experiment.name} goes on where its counts cannot be written, and counts that`,
    ignore: ignore || obstacle !== null,
    fn: async () => {
      using place = folder();
      const output = join(place.path, "output");
      Deno.writeTextFileSync(output, "");
      const { command, args, cwd } = experimentCommand(experiment);
      await using server = new Deno.Command("sh", {
        args: ["-c", APPENDING, "sh", command, ...args],
        cwd,
        env: { OUTPUT: output },
        stdin: "null",
        stdout: "null",
        stderr: "null",
      }).spawn();
      await until(
        () => lastLine(output).event === "ready",
        READY_MS,
        "the server",
      );
      const pids = [server.pid, lastLine(output).pid];
      let waitMs = 50; // for a signal to be heard; longer each time, until that is enough
      const ask = async (bytes: number | "unlimited") => {
        await bound(pids, bytes);
        server.kill("SIGUSR1");
        await delay(waitMs);
      };
      await until(
        async () => {
          waitMs *= 2;
          await ask(Deno.statSync(output).size);
          await ask("unlimited");
          const { event, errors } = lastLine(output);
          return event === "stats" && errors.EFBIG > 0;
        },
        PATIENCE_MS,
        `${experiment.name} to count a line that it could not write`,
      );
      await bound(pids, Deno.statSync(output).size); // its last line cannot be written either
      server.kill("SIGTERM");
      const { code } = await within(server.status, PATIENCE_MS, `the end of ${experiment.name}`);
      assertEquals(code, 0);
      assertNotEquals(lastLine(output).event, "stopped");
    },
  });
}
