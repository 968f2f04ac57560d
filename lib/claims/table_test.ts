import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { judgeClaim, type Judged, LEDGER } from "./ledger.ts";
import { claimsTable, describeClaims, tally } from "./table.ts";
import { folder } from "../testing/folder.ts";
import { CLAIMS_SCHEMA, readClaims, writeClaims } from "./file.ts";
import { call, held, HOST, type Piece, storedOf } from "../testing/fixtures.ts";

const limit: Piece = (into) => {
  held("select", 999)(into);
  into.results.at(-1)!.reason = "the server counted 1 001 FD_SETSIZE";
};
const stored = storedOf(limit, ...[10, 100, 1000, 10_000].map((size) => call("select", size, size / 10)));
const rows: Judged[] = LEDGER.map((claim) => judgeClaim(claim, stored).row);

Deno.test("verdicts that were stored are read again as they were, and a later file takes the place of the first", async () => {
  using dir = folder();
  assertEquals(await readClaims(dir.path), null);
  for (const wanted of [rows, rows.slice(0, 2)]) {
    await writeClaims(wanted, HOST, dir.path);
    const { rows, host } = (await readClaims(dir.path))!;
    assertEquals([rows, host], [wanted, HOST]);
  }
  assertEquals([...Deno.readDirSync(dir.path)].map(({ name }) => name), ["claims.json"]);
});

Deno.test("a damaged or newer file of verdicts is named and passed over, and no invalid one is stored", async () => {
  using dir = folder();
  const path = join(dir.path, "claims.json");
  const newer = JSON.stringify({ schema: CLAIMS_SCHEMA + 1, time: new Date().toISOString(), host: HOST, rows: [] });
  const wrongSchema = `schema: expected ${CLAIMS_SCHEMA}, found ${CLAIMS_SCHEMA + 1}`;
  for (const [content, why] of [["{", "it is damaged"], [newer, wrongSchema]] as const) {
    Deno.writeTextFileSync(path, content);
    const told: string[] = [];
    assertEquals(await readClaims(dir.path, ({ why }) => void told.push(why)), null);
    assertStringIncludes(told.join(), why);
  }
  const wrong = [{ ...rows[0]!, figure: NaN }];
  await assertRejects(() => writeClaims(wrong, HOST, dir.path), Error, "rows.0.figure: expected number, found NaN");
  assertEquals(Deno.readTextFileSync(path), newer);
});

Deno.test("the table has a line for each claim, with its figure, its interval and a link to a file", () => {
  const lines = claimsTable({ rows }, "..").split("\n");
  assertEquals(lines.filter((line) => /^\| (\[[TC]-|[TC]-)/.test(line)).length, 48);
  const select = lines.find((line) => line.includes("[T-select]"))!;
  assertMatch(
    select,
    /^\| \[T-select\]\(\.\.\/results\/a-cpu-2c-24g-linux\/studies\/.*\.json\) \| T §.* \| holds \| × 10\.00 \[× 9\.80, × 10\.20\] \| Yes: /,
  );
  assertMatch(lines.at(-1)!, /Measured on: a CPU, 2 cores, 24 GiB, linux 6\.1\.0, Deno 2\.9\.6\.$/);
  assertMatch(lines.find((line) => line.includes("T-switch"))!, /^\| T-switch \| .* \| not measured yet \| – \| /);
});

Deno.test("below the table each claim has its rule, and what a sceptic says of it, once, folded", () => {
  const lines = claimsTable({ rows }, "..").split("\n");
  const [from, to] = ["<details>", "</details>"].map((tag) => lines.indexOf(tag));
  const rules = lines.slice(from, to).filter((line) => line.startsWith("- "));
  assertEquals(rules.length, LEDGER.length);
  for (const [i, { id, tried, rule, sceptic }] of LEDGER.entries()) {
    assertEquals(rules[i], `- **${id}.** Tried: ${tried}. Rule: ${rule} A sceptic: ${sceptic}`);
  }
});

Deno.test("verdicts are counted, and one that stands on quick figures says so", () => {
  assertEquals(
    tally(rows.filter(({ id }) => id === "T-select" || id === "T-switch")),
    "2 claims. holds: 1, not measured yet: 1.",
  );
  const whole = rows.filter(({ id }) => id === "T-select");
  const quick = whole.map((row) => ({ ...row, quick: true }));
  assertStringIncludes(describeClaims(quick), "holds (quick)");
  assertEquals(tally([...whole, ...quick, ...quick]), "3 claims. holds: 3 (2 by quick figures).");
});
