import { assert, assertEquals, assertGreater, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import { cut, difference, excerpt, withoutHeader } from "./excerpt.ts";
import { isInstalled } from "../catalogue/tools.ts";

const TEXT = `const a = 1;
function outer() {
  if (a) {
    b();
  }
}
const z = 9;
`;

Deno.test("a block is cut to its own end, and loses the indent of its first line", () => {
  assertEquals(cut(TEXT, "function outer"), { line: 2, text: "function outer() {\n  if (a) {\n    b();\n  }\n}" });
  assertEquals(cut(TEXT, "if (a)"), { line: 3, text: "if (a) {\n  b();\n}" });
});

Deno.test("lines are cut from one word to another, both included", () => {
  assertEquals(cut(TEXT, "b()", "const z").text, "b();\n}\n}\nconst z = 9;");
});

Deno.test("what is not there any more is an error that names the file and the words", () => {
  assertThrows(() => cut(TEXT, "if (a)", "gone"), Error, `Behind "if (a)" no line holds "gone"`);
  assertThrows(
    () => excerpt("epoll.ts", "no such words"),
    Error,
    `experiments/epoll.ts: No line holds "no such words"`,
  );
});

Deno.test("of a diff the header's hunks are left out, and each hunk tells its line of the old file", () => {
  const diff = "--- a\n+++ b\n@@ -2 +2 @@\n-x\n+y\n@@ -30,2 +31 @@ f()\n-p\n-q\n+r\n";
  assertEquals(withoutHeader(diff, 20), "@@ line 30\n-p\n-q\n+r");
});

Deno.test({
  name: "epoll-edge differs from epoll by EPOLLET, and the headers are not in the difference",
  ignore: !await isInstalled("diff"),
  fn: async () => {
    const lines = await difference("epoll", "epoll-edge");
    assert(/^\+.*EPOLLET = /m.test(lines), lines);
    assert(!lines.includes("@question"), lines);
  },
});

Deno.test({
  name: "what diff cannot do is an error in its words, and no empty difference",
  ignore: Deno.build.os !== "linux" || !await isInstalled("diff"),
  fn: async () => {
    const dir = await Deno.makeTempDir();
    const path = Deno.env.get("PATH")!;
    await Deno.writeTextFile(join(dir, "diff"), "#!/bin/sh\necho trouble with a disk >&2\nexit 2\n", { mode: 0o755 });
    Deno.env.set("PATH", `${dir}:${path}`);
    try {
      const error = await assertRejects(() => difference("epoll", "epoll-edge"), Error);
      assertStringIncludes(error.message, "Cannot compare epoll with epoll-edge: trouble with a disk");
    } finally {
      Deno.env.set("PATH", path);
      await Deno.remove(dir, { recursive: true });
    }
  },
});

Deno.test("every excerpt that a lesson shows is still in its file", () => {
  const lessons = new URL("../../notebooks/", import.meta.url);
  let seen = 0;
  for (const { name } of Deno.readDirSync(lessons)) {
    if (!name.endsWith(".ipynb")) continue;
    const { cells }: { cells: { source: string[] }[] } = JSON.parse(Deno.readTextFileSync(new URL(name, lessons)));
    for (const call of cells.flatMap(({ source }) => source.join("").match(/showSource\([^;]*\);/g) ?? [])) {
      const [path, from, to] = [...call.matchAll(/"([^"]*)"/g)].map(([_, text]) => text!);
      excerpt(path!, from!, to);
      seen++;
    }
  }
  assertGreater(seen, 20);
});
