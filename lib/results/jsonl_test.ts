import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheFor } from "../testing/folder.ts";
import { appendLine, filterLines, readLines, repairLines } from "./jsonl.ts";
import * as v from "valibot";
import { number } from "./check.ts";
import { CannotStore } from "./durable_file.ts";

const LINE = v.strictObject({ n: number });

function file(content?: string) {
  const dir = Deno.makeTempDirSync();
  const path = join(dir, "lines.jsonl");
  if (content !== undefined) Deno.writeTextFileSync(path, content);
  return {
    path,
    text: () => Deno.readTextFileSync(path),
    [Symbol.dispose]: () => Deno.removeSync(dir, { recursive: true }),
  };
}

Deno.test("lines that were added are read in order, and of no file there are none", async () => {
  using lines = file();
  assertEquals(await readLines(lines.path, LINE), { values: [], warnings: [] });
  await appendLine(lines.path, { n: 1 });
  await appendLine(lines.path, { n: 2 });
  assertEquals(await readLines(lines.path, LINE), { values: [{ n: 1 }, { n: 2 }], warnings: [] });
  assertEquals(await repairLines(lines.path), null);
});

Deno.test("a line in the middle that is damaged or of another shape is named, passed over and kept", async () => {
  const content = '{"n":1}\n{"n":\n{"n":"x"}\n{"n":2}\n';
  using lines = file(content);
  const { values, warnings } = await readLines(lines.path, LINE);
  assertEquals(values, [{ n: 1 }, { n: 2 }]);
  assertMatch(warnings[0]!, /line 2 is passed over, it is damaged: .*: \{"n":$/);
  assertMatch(warnings[1]!, /line 3 is passed over, n: expected number, found "x": \{"n":"x"\}$/);
  await appendLine(lines.path, { n: 3 });
  await filterLines<{ n: number }>(lines.path, LINE, ({ n }) => n !== 1);
  assertEquals(lines.text(), '{"n":\n{"n":"x"}\n{"n":2}\n{"n":3}\n');
});

Deno.test("a torn last line is reported with its text and removed, and a whole one gets its end", async () => {
  using torn = file('{"n":1}\n{"n":2,"m');
  await assertRejects(() => appendLine(torn.path, { n: 3 }), CannotStore, "its last line is torn");
  assertMatch((await repairLines(torn.path))!, /the last line was torn, and is taken out; it was: \{"n":2,"m$/);
  await appendLine(torn.path, { n: 3 });
  assertEquals(torn.text(), '{"n":1}\n{"n":3}\n');
  using whole = file('{"n":1}\n{"n":2}');
  assertStringIncludes((await repairLines(whole.path))!, "had no end");
  assertEquals(whole.text(), '{"n":1}\n{"n":2}\n');
});

Deno.test("when no line is left there is no file, and where nothing goes nothing is written", async () => {
  using lines = file('{"n":1}\n');
  const before = Deno.statSync(lines.path).ino;
  await filterLines(lines.path, LINE, () => true);
  assertEquals(Deno.statSync(lines.path).ino, before);
  await filterLines(lines.path, LINE, () => false);
  assertEquals([...Deno.readDirSync(join(lines.path, ".."))], []);
});

Deno.test("what a killed program left beside the file is no hindrance", async () => {
  using lines = file('{"n":1}\n');
  Deno.writeTextFileSync(`${lines.path}.tmp`, '{"n":1}\n{"n":');
  await appendLine(lines.path, { n: 2 });
  assertEquals(lines.text(), '{"n":1}\n{"n":2}\n');
});

Deno.test({
  name: "on a disk that is full the line is not added, the error names the file, and all lines before it are whole",
  ignore: Deno.build.os === "windows", // sh, ulimit
  fn: async () => {
    const content = `{"n":${"1".repeat(1000)}}\n`;
    using lines = file(content);
    const script = join(lines.path, "..", "append.mjs"); // no TypeScript: nothing has to be kept in the cache
    Deno.writeTextFileSync(
      script,
      `import { appendLine } from ${JSON.stringify(new URL("./jsonl.ts", import.meta.url).href)};
       try { await appendLine(${
        JSON.stringify(lines.path)
      }, { n: 2 }); } catch (error) { console.log(error.message); }`,
    );
    // ulimit counts in blocks of 512 bytes. A process that ignores SIGXFSZ gets EFBIG from write(2).
    const { stdout } = await new Deno.Command("sh", {
      args: [
        "-c",
        `trap '' XFSZ; ulimit -f 1; exec "$@"`,
        "sh",
        Deno.execPath(),
        "run",
        "--config",
        fileURLToPath(new URL("../../deno.json", import.meta.url)),
        "-A",
        "--config",
        fileURLToPath(new URL("../../deno.json", import.meta.url)),
        script,
      ],
      env: { DENO_DIR: cacheFor(join(lines.path, "..", "cache")) },
    }).output();
    assertStringIncludes(new TextDecoder().decode(stdout), `Cannot store ${lines.path}`);
    assertEquals(lines.text(), content);
  },
});
