/**
 * Judges the claims of two texts on the C10K problem by what was measured here; measures before what is missing.
 *
 * deno task claims --only T-switch,C-100x
 */
import { findIn } from "../lib/catalogue/catalogue.ts";
import { type Answer, judgeClaim, type Judged, LEDGER } from "../lib/claims/ledger.ts";
import { describeClaims } from "../lib/claims/table.ts";
import { parseFlags, runScript } from "../lib/cli/flags.ts";
import { join } from "node:path";
import { machineOf } from "../lib/results/machine.ts";
import type { PassedOver } from "../lib/results/results.ts";
import { hostFacts } from "../lib/sampling/host.ts";
import type { Claim } from "../lib/claims/claim.ts";
import { chooseStored, readStored, type Stored } from "../lib/results/stored.ts";
import { writeClaims } from "../lib/claims/file.ts";

const USAGE =
  `Usage: deno task claims [--only T-switch,C-100x] [--quick] [--json] [--no-run] [--no-save] [--machine NAME]
       --only: measures for these claims and shows them; --quick: measures briefly, and lets brief figures stand in where
       there are no others; --no-run: judges what is stored and measures nothing: the figures of this machine where it has all that the
       reference has, else those of the reference, which then stay as they are; --machine: those of that one, and nothing is
       measured`;

/** Names each file that cannot be used once. */
function nameSkipped(passedOver: readonly PassedOver[], named: Set<string>): void {
  for (const { path, why } of passedOver) {
    if (!named.has(path)) console.error(`Skipped ${path}: ${why}`);
    named.add(path);
  }
}

/** What is stored of this machine, for a run that measures what is missing. */
async function readHere(named: Set<string>): Promise<Stored> {
  const { stored, passedOver } = await readStored();
  nameSkipped(passedOver, named);
  return stored;
}

/** What is stored of the machine to show, for a run that measures nothing. */
async function readShown(isAsked: (claim: Claim) => boolean, machine: string | undefined): Promise<Stored> {
  const covers = (stored: Stored) =>
    LEDGER.filter((claim) => isAsked(claim) && judgeClaim(claim, stored, true).missing === null).map(({ id }) => id);
  const { stored, passedOver, line } = await chooseStored({ machine, covers });
  nameSkipped(passedOver, new Set());
  console.error(line);
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
    string: ["only", "machine"],
    boolean: ["quick", "json", "run", "save"],
    negatable: ["run", "save"],
    defaults: { run: true, save: true },
  });
  const only = flags.only?.split(",").map((id) =>
    findIn(LEDGER.map((claim) => ({ name: claim.id })), id, "claim").name
  );
  const isAsked = ({ id }: { id: string }) => only === undefined || only.includes(id);
  const named = new Set<string>();
  const tried = new Set<string>(); // a command that did not help is not run again
  const measures = flags.run && flags.machine === undefined;
  let stored = measures ? await readHere(named) : await readShown(isAsked, flags.machine);
  for (const claim of LEDGER.filter(isAsked)) {
    for (;;) {
      const { missing }: Answer = judgeClaim(claim, stored, flags.quick);
      const command = missing === null ? null : flags.quick ? missing.quick : missing.command;
      if (!measures || command === null || tried.has(command)) break;
      tried.add(command);
      await run(command);
      stored = await readHere(named);
    }
  }
  const rows: Judged[] = LEDGER.map((claim) => judgeClaim(claim, stored, true).row);
  const asked = rows.filter(isAsked);
  console.log(flags.json ? JSON.stringify(asked, null, 2) : describeClaims(asked));
  const isHere = stored.machine === machineOf(hostFacts());
  if (flags.save && isHere) {
    console.error(`\nStored ${await writeClaims(rows, stored.host, join("results", stored.machine))}`);
  }
  return asked.some(({ verdict }) => verdict === "not measured yet") ? 1 : 0;
});
