import { assertEquals } from "@std/assert";
import { shellQuote, taskLine } from "./shell.ts";

const WORDS = [
  "node",
  "/a b/odd.mjs",
  "it's",
  "",
  "$HOME",
  "a;b",
  "~",
  "*",
  'say "x"',
  "line\nbreak",
  "--rate=10",
  "é",
];

Deno.test("words that no shell would change stay as they are", () => {
  assertEquals(
    shellQuote(["node", "server.js", "--port=80", "a/b:c,d@e%f+g"]),
    "node server.js --port=80 a/b:c,d@e%f+g",
  );
  assertEquals(taskLine("exp", ["epoll", "--quick"]), "deno task exp epoll --quick");
});

Deno.test({
  name: "a shell reads back every word as it was",
  ignore: Deno.build.os === "windows", // sh
  fn: async () => {
    const { stdout } = await new Deno.Command("sh", { args: ["-c", `printf '%s\\0' ${shellQuote(WORDS)}`] }).output();
    assertEquals(new TextDecoder().decode(stdout).split("\0").slice(0, -1), WORDS);
  },
});
