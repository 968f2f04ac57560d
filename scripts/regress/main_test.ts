import { assertEquals, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { project, runTask } from "../../lib/testing/task.ts";

/** Runs a command with the permissions that its task names. */
async function command(name: string, ...args: string[]) {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const tasks = JSON.parse(Deno.readTextFileSync(`${root}deno.json`)).tasks;
  const [, ...words] = `${tasks[name].command} ${args.join(" ")}`.split(" ");
  const { code, stderr } = await new Deno.Command(Deno.execPath(), { args: words, cwd: root }).output();
  return { code, said: new TextDecoder().decode(stderr) };
}

Deno.test("what cannot be understood ends regress and ab with 2 and a sentence, before anything is measured", async () => {
  const cases: [string, string[], string][] = [
    ["regress", ["--experiments", "event-lop"], "Did you mean event-loop?"],
    ["regress", ["--experiments", "c-epoll"], "c-epoll is the reference: leave it out."],
    ["regress", ["--experiments", "select,select"], "Name each experiment once."],
    ["regress", ["--quick", "--update-baseline"], "A baseline takes all rounds"],
    ["ab", ["event-loop", "--rounds", "6", "--v8-flags=--x"], "--rounds 6 is not a whole number from 7"],
    ["ab", ["event-loop"], "Say in one way which two"],
    [
      "ab",
      ["server.ts", "--deno", "2.8.3,2.9.6"],
      "server.ts is no experiment. A server of your own is two commands: ",
    ],
  ];
  await Promise.all(cases.map(async ([name, args, sentence]) => {
    const { code, said } = await command(name, ...args);
    assertStringIncludes(said, sentence);
    assertEquals(code, 2, sentence);
  }));
});

Deno.test({
  name: "what has no baseline is named at the end, with the flag that makes one",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    using dir = project();
    const { code, stderr } = await runTask("regress", ["--experiments", "iocp"], dir.path);
    assertEquals(code, 69, stderr);
    assertStringIncludes(stderr, "No baseline here fits iocp: --update-baseline makes one.\n");
  },
});
