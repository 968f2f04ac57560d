import { assertEquals, assertRejects } from "@std/assert";
import { endInterrupted, interruptible } from "./interrupt.ts";

Deno.test("the code of a body passes, and so does its error where nobody has interrupted it", async () => {
  assertEquals([await interruptible(() => Promise.resolve(1), ""), await interruptible(() => Promise.resolve(0), "")], [
    1,
    0,
  ]);
  await assertRejects(() => interruptible(() => Promise.reject(new TypeError("x")), ""), TypeError, "x");
});

/** Starts a command whose body waits for `how`, and returns once it listens for signals. */
async function start(how: string, stdin: "null" | "piped" = "null") {
  const script = `
    import { endInterrupted, interruptible } from ${JSON.stringify(new URL("./interrupt.ts", import.meta.url).href)};
    const alive = setInterval(() => {}, 1000);
    Deno.exit(await interruptible((signal) => new Promise((_, reject) => {
      signal.addEventListener("abort", () => { ${how} });
      console.log("ready");
    }), "the rounds are kept."));`;
  const args = ["eval", "--no-lock", "--no-check", script];
  const child = new Deno.Command(Deno.execPath(), { args, stdin, stdout: "piped", stderr: "piped" }).spawn();
  const reader = child.stdout.getReader();
  await reader.read(); // it listens now
  return { child, reader };
}

Deno.test({
  name: "SIGINT and SIGTERM end a command with 130, and it reports what was kept",
  ignore: Deno.build.os === "windows", // signals
  fn: async () => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const { child, reader } = await start("reject(signal.reason);");
      child.kill(signal);
      const said = await new Response(child.stderr).text();
      assertEquals([said.trim(), (await child.status).code], ["Interrupted: the rounds are kept.", 130]);
      await reader.cancel();
    }
  },
});

Deno.test({
  name: "the same Ctrl-C that comes twice at nearly the same time is one interrupt",
  ignore: Deno.build.os === "windows", // signals
  fn: async () => {
    const { child, reader } = await start(
      'new Response(Deno.stdin.readable).text().then(() => reject(signal.reason)); console.log("stopping");',
      "piped",
    );
    child.kill("SIGINT");
    await reader.read(); // it has heard the first one
    child.kill("SIGINT");
    await child.stdin.close();
    const said = await new Response(child.stderr).text();
    assertEquals([said.trim(), (await child.status).code], ["Interrupted: the rounds are kept.", 130]);
    await reader.cancel();
  },
});

Deno.test({
  name: "a second signal ends a command at once that does not come to its end",
  ignore: Deno.build.os === "windows", // signals
  fn: async () => {
    const { child, reader } = await start('console.log("stopping");');
    child.kill("SIGINT");
    await reader.read(); // it has heard the first one
    child.kill("SIGTERM");
    assertEquals((await child.status).code, 130);
    await Promise.all([reader.cancel(), child.stderr.cancel()]);
  },
});

Deno.test("an interrupted command says in one way how much was over, and whether that is stored", () => {
  const said: string[] = [];
  const original = console.error;
  console.error = (line: string) => said.push(line.trim());
  try {
    const codes = [[0, true], [0, false], [1, true], [2, true], [2, false]].map(([done, isSaved]) =>
      endInterrupted(done as number, "run", isSaved as boolean)
    );
    assertEquals(codes, Array(5).fill(130));
  } finally {
    console.error = original;
  }
  assertEquals(said, [
    "Interrupted before the first run was over: nothing was measured.",
    "Interrupted before the first run was over: nothing was measured.",
    "Interrupted after 1 run: it is stored.",
    "Interrupted after 2 runs: these are stored.",
    "Interrupted after 2 runs: nothing is stored (--no-save).",
  ]);
});
