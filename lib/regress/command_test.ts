import { assertEquals, assertRejects } from "@std/assert";
import { DamagedBaseline } from "./baseline.ts";
import { UsageError } from "../cli/errors.ts";
import { appendTo, judged } from "./command.ts";
import { CannotStore } from "../results/durable_file.ts";

Deno.test("a verdict passes, and an error of the program is no verdict: it ends as inconclusive, not with 1", async () => {
  assertEquals([await judged(() => Promise.resolve(1), ""), await judged(() => Promise.resolve(0), "")], [1, 0]);
  const { error: print } = console;
  const said: unknown[] = [];
  console.error = (what) => said.push(what);
  try {
    const unknown = new TypeError("x");
    for (const error of [unknown, new CannotStore("The disk is full."), new DamagedBaseline("It is torn.")]) {
      assertEquals(await judged(() => Promise.reject(error), ""), 3);
    }
    const end = "Inconclusive: there is no verdict.";
    assertEquals(said, [unknown, end, "The disk is full.", end, "It is torn.", end]); // with its stack, if nobody knows it
  } finally {
    console.error = print;
  }
  await assertRejects(() => judged(() => Promise.reject(new UsageError("--x")), ""), UsageError);
});

Deno.test({
  name: "an interrupt ends a command that judges with 130, and says what was kept",
  ignore: Deno.build.os === "windows", // signals
  fn: async () => {
    const script = `
      import { judged } from ${JSON.stringify(new URL("./command.ts", import.meta.url).href)};
      const alive = setInterval(() => {}, 1000);
      Deno.exit(await judged((signal) => new Promise((_, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
        console.log("ready");
      }), "the rounds are kept."));`;
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const args = ["eval", "--no-lock", "--no-check", script];
      await using child = new Deno.Command(Deno.execPath(), { args, stdout: "piped", stderr: "piped" }).spawn();
      const reader = child.stdout.getReader();
      await reader.read(); // it listens now
      child.kill(signal);
      const said = await new Response(child.stderr).text();
      assertEquals([said.trim(), (await child.status).code], ["Interrupted: the rounds are kept.", 130]);
      await reader.cancel();
    }
  },
});

Deno.test({
  name: "a summary is added to what is in the file",
  ignore: Deno.build.os === "windows", // tee
  fn: async () => {
    const path = Deno.makeTempFileSync();
    await appendTo(path, "# One\n");
    await appendTo(path, "# Two\n");
    assertEquals(Deno.readTextFileSync(path), "# One\n# Two\n");
    Deno.removeSync(path);
  },
});
