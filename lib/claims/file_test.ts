import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { readClaims, refreshClaims } from "./file.ts";
import { judgeAll } from "./ledger.ts";
import { referenceMachine } from "../results/machine.ts";
import { readStored } from "../results/stored.ts";
import { folder } from "../testing/folder.ts";

const RESULTS = fileURLToPath(new URL("../../results", import.meta.url));

Deno.test("the stored verdicts of the reference machine are those of the rules: else run deno task readme", async () => {
  const machine = (await referenceMachine(RESULTS))!;
  const { stored } = await readStored(RESULTS, machine);
  const rules = judgeAll(stored);
  const { rows } = (await readClaims(join(RESULTS, machine)))!;
  const verdicts = (of: typeof rows) => of.map(({ id, verdict }) => `${id}: ${verdict}`);
  assertEquals(verdicts(rows), verdicts(rules));
  assertEquals(JSON.parse(JSON.stringify(rules)), rows);
});

Deno.test("verdicts are written where they differ from the stored ones, and the file stays where they agree", async () => {
  using dir = folder();
  const { stored } = await readStored(dir.path, "abacus");
  const path = join(dir.path, "abacus", "claims.json");
  Deno.mkdirSync(join(dir.path, "abacus"));
  const first = await refreshClaims(stored, dir.path);
  assertEquals([first.isNew, first.claims!.rows], [true, judgeAll(stored)]);
  const text = Deno.readTextFileSync(path);
  assertEquals((await refreshClaims(stored, dir.path)).isNew, false);
  assertEquals(Deno.readTextFileSync(path), text);
  Deno.writeTextFileSync(path, text.replaceAll("not measured yet", "holds"));
  const again = await refreshClaims(stored, dir.path);
  assert(again.isNew);
  assertEquals(again.claims!.rows, judgeAll(stored));
});
