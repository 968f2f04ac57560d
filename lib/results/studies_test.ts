import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { readResults } from "./results.ts";
import { COLUMNS, readStudies, STUDY_SCHEMA, writeStudy } from "./studies.ts";
import { explained } from "../testing/format_doc.ts";
import { folder } from "../testing/folder.ts";
import type { Kind, ReadinessRow } from "./rows.ts";
import { MANIFEST } from "./schema.ts";

const ROW: ReadinessRow = {
  call: "poll",
  descriptors: 10,
  wait_us: 1.2,
  wait_us_low: 1.1,
  wait_us_high: 1.3,
  turn_us: 1.4,
  turn_us_low: 1.3,
  turn_us_high: 1.5,
};

Deno.test("a study that was stored is read again as it was, and is no result", async () => {
  using dir = folder();
  const path = await writeStudy("readiness", [ROW], "deno task readiness", { dir: dir.path });
  assertMatch(path, /studies.readiness.\d{8}T\d{6}Z-[0-9a-f]{8}\.json$/);
  const { studies, passedOver } = await readStudies("readiness", dir.path);
  assertEquals(passedOver, []);
  assertEquals(studies.map(({ rows, command }) => ({ rows, command })), [{
    rows: [ROW],
    command: "deno task readiness",
  }]);
  assertEquals(await readResults(dir.path), { results: [], passedOver: [] });
  assertEquals((await readStudies("comparison", dir.path)).studies, []);
});

Deno.test("a study that is damaged, newer or of another shape is named and passed over", async () => {
  using dir = folder();
  const good = JSON.parse(await Deno.readTextFile(await writeStudy("readiness", [ROW], "x", { dir: dir.path })));
  const cases: [name: string, content: string, why: string][] = [
    ["a", "{", "it is damaged"],
    ["b", JSON.stringify({ ...good, schema: STUDY_SCHEMA + 1 }), "schema is not one of"],
    ["c", JSON.stringify({ ...good, rows: [{ ...ROW, wait_us: "1" }] }), "rows[0].wait_us is not a number"],
    ["d", JSON.stringify({ ...good, rows: [{ ...ROW, more: 1 }] }), "rows[0].more is unknown"],
  ];
  const pathOf = (name: string) => join(dir.path, "studies", "readiness", `${name}.json`);
  for (const [name, content] of cases) Deno.writeTextFileSync(pathOf(name), content);
  const { studies, passedOver } = await readStudies("readiness", dir.path);
  assertEquals(studies, [good]);
  for (const [name, , why] of cases) {
    assertStringIncludes(passedOver.find(({ path }) => path === pathOf(name))!.why, why);
  }
});

Deno.test("what is no valid study is not stored", async () => {
  using dir = folder();
  const wrong = { ...ROW, turn_us: NaN };
  await assertRejects(() => writeStudy("readiness", [wrong], "x", { dir: dir.path }), Error, "turn_us is not a number");
  assertEquals([...Deno.readDirSync(dir.path)], []);
});

Deno.test("results/README.md explains every column of every kind of study, and no other", () => {
  for (const kind of Object.keys(COLUMNS) as Kind[]) {
    assertEquals(explained(`\`${kind}\``), Object.keys(COLUMNS[kind]), kind);
  }
  assertEquals(explained("Manifest"), Object.keys(MANIFEST));
});
