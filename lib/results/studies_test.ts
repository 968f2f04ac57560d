import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { hostFacts } from "../sampling/host.ts";
import { folder } from "../testing/folder.ts";
import { loadDigest } from "./lab.ts";
import { machineOf } from "./machine.ts";
import { readResults } from "./results.ts";
import type { ReadinessRow } from "./rows.ts";
import { readStudies, STUDY_SCHEMA, writeStudy } from "./studies.ts";

const MACHINE = machineOf(hostFacts());
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
const storeIn = (dir: string, quick = false) =>
  writeStudy("readiness", [ROW], { command: "deno task readiness", quick, dir });

Deno.test("a study that was stored is read again as it was, and is no result", async () => {
  using dir = folder();
  const path = await storeIn(dir.path, true);
  assert(path.startsWith(join(dir.path, MACHINE, "studies", "readiness")), path);
  assertMatch(path, /readiness.\d{8}T\d{6}Z-[0-9a-f]{8}\.json$/);
  const { studies, passedOver } = await readStudies("readiness", dir.path, MACHINE);
  assertEquals(passedOver, []);
  assertEquals(studies.map(({ rows, command, quick }) => ({ rows, command, quick })), [{
    rows: [ROW],
    command: "deno task readiness",
    quick: true,
  }]);
  assertEquals(await readResults(dir.path, MACHINE), { results: [], passedOver: [] });
  assertEquals((await readStudies("comparison", dir.path, MACHINE)).studies, []);
});

Deno.test("a study says which version of the lab made it", async () => {
  using dir = folder();
  const { lab } = JSON.parse(await Deno.readTextFile(await storeIn(dir.path)));
  assertEquals([lab.load, lab.served], [await loadDigest(), null]);
});

Deno.test("a study of another machine is never read", async () => {
  using dir = folder();
  await storeIn(dir.path);
  assertEquals((await readStudies("readiness", dir.path, MACHINE)).studies.length, 1);
  Deno.renameSync(join(dir.path, MACHINE), join(dir.path, "another"));
  assertEquals((await readStudies("readiness", dir.path, MACHINE)).studies, []);
});

Deno.test("a study that is damaged, newer or of another shape is named and passed over", async () => {
  using dir = folder();
  const good = JSON.parse(await Deno.readTextFile(await storeIn(dir.path)));
  const { quick: _, ...unsaid } = good;
  const cases: [name: string, content: string, why: string][] = [
    ["a", "{", "it is damaged"],
    [
      "b",
      JSON.stringify({ ...good, schema: STUDY_SCHEMA + 1 }),
      `schema: expected ${STUDY_SCHEMA}, found ${STUDY_SCHEMA + 1}`,
    ],
    ["c", JSON.stringify({ ...good, rows: [{ ...ROW, wait_us: "1" }] }), 'rows.0.wait_us: expected number, found "1"'],
    ["d", JSON.stringify({ ...good, rows: [{ ...ROW, more: 1 }] }), "rows.0.more: unknown field"],
    ["e", JSON.stringify({ ...good, kind: "probe" }), 'kind: expected "readiness", found "probe"'],
    ["f", JSON.stringify(unsaid), "quick: missing"],
  ];
  const pathOf = (name: string) => join(dir.path, MACHINE, "studies", "readiness", `${name}.json`);
  for (const [name, content] of cases) Deno.writeTextFileSync(pathOf(name), content);
  const { studies, passedOver } = await readStudies("readiness", dir.path, MACHINE);
  assertEquals(studies, [good]);
  assertEquals(passedOver.length, cases.length);
  for (const [name, , why] of cases) {
    assertStringIncludes(passedOver.find(({ path }) => path === pathOf(name))!.why, why);
  }
});

Deno.test("what is no valid study is not stored", async () => {
  using dir = folder();
  const wrong = { ...ROW, turn_us: NaN };
  await assertRejects(
    () => writeStudy("readiness", [wrong], { command: "x", quick: false, dir: dir.path }),
    Error,
    "rows.0.turn_us: expected number, found NaN",
  );
  assertEquals([...Deno.readDirSync(dir.path)], []);
});
