/**
 * Judges the claims of two texts on the C10K problem by what was measured here; measures before what is missing.
 *
 * deno task claims --only T-switch,C-100x
 */
import { findIn } from "../lib/catalogue/catalogue.ts";
import { type Answer, judgeClaim, type Judged, LEDGER } from "../lib/claims/ledger.ts";
import { describeClaims } from "../lib/claims/table.ts";
import { parseFlags, runScript } from "../lib/cli/flags.ts";
import { readStored, type Stored } from "../lib/results/stored.ts";
import { writeClaims } from "../lib/claims/file.ts";

const USAGE = `Usage: deno task claims [--only T-switch,C-100x] [--quick] [--json] [--no-run] [--no-save]
       --only: measures for these claims and shows them; --quick: measures briefly, and lets brief figures stand in where
       there are no others; --no-run: judges what is stored and measures nothing`;

/** Reads what is stored, and names what is passed over once. */
async function read(told: Set<string>): Promise<Stored> {
  const { stored, passedOver } = await readStored();
  for (const { path, why } of passedOver) {
    if (!told.has(path)) console.error(`passed over ${path}: ${why}`);
    told.add(path);
  }
  return stored;
}

/** Runs a task of this project; what it prints is progress here. */
async function run(command: string): Promise<void> {
  console.error(`\n${command}`);
  const args = command.split(" ").slice(1); // without deno
  const child = new Deno.Command(Deno.execPath(), { args, stdin: "null", stdout: "null" }).spawn();
  const { code } = await child.status;
  if (code !== 0) console.error(`${command} ended with code ${code}.`);
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, {
    string: ["only"],
    boolean: ["quick", "json", "run", "save"],
    negatable: ["run", "save"],
    defaults: { run: true, save: true },
  });
  const only = flags.only?.split(",").map((id) =>
    findIn(LEDGER.map((claim) => ({ name: claim.id })), id, "claim").name
  );
  const isAsked = ({ id }: { id: string }) => only === undefined || only.includes(id);
  const told = new Set<string>();
  const tried = new Set<string>(); // a command that did not help is not run again
  let stored = await read(told);
  for (const claim of LEDGER.filter(isAsked)) {
    for (;;) {
      const { missing }: Answer = judgeClaim(claim, stored, flags.quick);
      const command = missing === null ? null : flags.quick ? missing.quick : missing.command;
      if (!flags.run || command === null || tried.has(command)) break;
      tried.add(command);
      await run(command);
      stored = await read(told);
    }
  }
  const rows: Judged[] = LEDGER.map((claim) => judgeClaim(claim, stored, flags.quick).row);
  const asked = rows.filter(isAsked);
  console.log(flags.json ? JSON.stringify(asked, null, 2) : describeClaims(asked));
  if (flags.save) console.error(`\nStored ${await writeClaims(rows)}`);
  return asked.some(({ verdict }) => verdict === "not measured yet") ? 1 : 0;
});
