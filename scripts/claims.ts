/**
 * Judges the claims of two texts on the C10K problem by what was measured here; measures before what is missing.
 *
 * deno task claims --only T-switch,C-100x
 */
import { findIn } from "../lib/catalogue/catalogue.ts";
import { type Answer, judgeClaim, type Judged, LEDGER } from "../lib/claims/ledger.ts";
import { describeClaims } from "../lib/claims/table.ts";
import { EXIT } from "../lib/cli/exit.ts";
import { parseFlags, runScript } from "../lib/cli/flags.ts";
import { onInterrupt } from "../lib/cli/interrupt.ts";
import { Storing } from "../lib/results/durable_file.ts";
import { readStored, type Stored } from "../lib/results/stored.ts";
import { writeClaims } from "../lib/claims/file.ts";

const USAGE = `Usage: deno task claims [--only T-switch,C-100x] [--quick] [--json] [--no-run] [--no-save]
       --only: measures for these claims and shows them; --quick: measures briefly, and
       lets brief figures stand in where there are no others; --no-run: judges what is
       stored and measures nothing; --no-save: stores nothing, so that no figure that is
       measured now is judged`;

/** Reads what is stored, and names what is passed over once. */
async function read(told: Set<string>): Promise<Stored> {
  const { stored, passedOver } = await readStored();
  for (const { path, why } of passedOver) {
    if (!told.has(path)) console.error(`passed over ${path}: ${why}`);
    told.add(path);
  }
  return stored;
}

/** Runs a task of this project; what it prints is progress here. An interrupt is passed on, and its end is waited for. */
async function run(command: string, save: boolean, signal: AbortSignal): Promise<void> {
  const line = save ? command : `${command} --no-save`;
  console.error(`\n${line}`);
  const args = line.split(" ").slice(1); // without deno
  // Detached: Ctrl-C in the terminal reaches this process alone. Of two signals the second one would end the task at once.
  const child = new Deno.Command(Deno.execPath(), { args, stdin: "null", stdout: "null", detached: true }).spawn();
  const onAbort = () => child.kill("SIGTERM");
  signal.addEventListener("abort", onAbort, { once: true });
  const { code } = await child.status;
  signal.removeEventListener("abort", onAbort);
  if (code !== 0) console.error(`${line} ended with exit code ${code}.`);
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
  using interrupt = onInterrupt();
  const { signal } = interrupt;
  const storing = new Storing(flags.save);
  await storing.begin();
  const told = new Set<string>();
  const tried = new Set<string>(); // a command that did not help is not run again
  let stored = await read(told);
  for (const claim of LEDGER.filter(isAsked)) {
    for (;;) {
      const { missing }: Answer = judgeClaim(claim, stored, flags.quick);
      const command = missing === null ? null : flags.quick ? missing.quick : missing.command;
      if (!flags.run || command === null || tried.has(command) || signal.aborted) break;
      tried.add(command);
      await run(command, flags.save, signal);
      stored = await read(told);
    }
  }
  const rows: Judged[] = LEDGER.map((claim) => judgeClaim(claim, stored, flags.quick).row);
  const asked = rows.filter(isAsked);
  console.log(flags.json ? JSON.stringify(asked, null, 2) : describeClaims(asked));
  await storing.add(() => writeClaims(rows));
  storing.finish();
  if (signal.aborted) {
    console.error("\nInterrupted: what was measured until then is kept, and judged.");
    return EXIT.interrupted;
  }
  return asked.some(({ verdict }) => verdict === "not measured yet") ? EXIT.failed : EXIT.ok;
});
