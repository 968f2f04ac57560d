/**
 * Judges the claims of two texts on the C10K problem by what was measured here; measures before what is missing.
 *
 * deno task claims --only T-switch,C-100x
 */
import { findIn } from "../lib/catalogue/catalogue.ts";
import { type Answer, judgeAll, judgeClaim, LEDGER } from "../lib/claims/ledger.ts";
import { describeClaims } from "../lib/claims/table.ts";
import { EXIT } from "../lib/cli/exit.ts";
import { parseFlags, runScript } from "../lib/cli/flags.ts";
import { join } from "node:path";
import { onInterrupt } from "../lib/cli/interrupt.ts";
import { Storing } from "../lib/results/durable_file.ts";
import { machineOf } from "../lib/results/machine.ts";
import type { PassedOver } from "../lib/results/results.ts";
import { hostFacts } from "../lib/sampling/host.ts";
import type { Claim } from "../lib/claims/claim.ts";
import { chooseStored, readStored, type Stored } from "../lib/results/stored.ts";
import { writeClaims } from "../lib/claims/file.ts";

const USAGE = `Usage: deno task claims [--only T-switch,C-100x] [--quick] [--json] [--no-run] [--no-save]
                        [--machine NAME]
       --only: measures for these claims and shows them; --quick: measures briefly;
       --no-run: judges what is stored and measures nothing: this machine where it has all
       that the reference has, else the reference, whose verdicts then stay as they are;
       --machine: judges that one, and measures nothing; --no-save: stores nothing, so
       that no figure that is measured now is judged`;

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
    string: ["only", "machine"],
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
  const named = new Set<string>();
  const tried = new Set<string>(); // a command that did not help is not run again
  const measures = flags.run && flags.machine === undefined;
  let stored = measures ? await readHere(named) : await readShown(isAsked, flags.machine);
  for (const claim of LEDGER.filter(isAsked)) {
    for (;;) {
      const { missing }: Answer = judgeClaim(claim, stored, flags.quick);
      const command = missing === null ? null : flags.quick ? missing.quick : missing.command;
      if (!measures || command === null || tried.has(command) || signal.aborted) break;
      tried.add(command);
      await run(command, flags.save, signal);
      stored = await readHere(named);
    }
  }
  const rows = judgeAll(stored);
  const asked = rows.filter(isAsked);
  console.log(flags.json ? JSON.stringify(asked, null, 2) : describeClaims(asked));
  if (stored.machine === machineOf(hostFacts())) {
    await storing.add(() => writeClaims(rows, stored.host, join("results", stored.machine)));
  }
  storing.finish();
  if (signal.aborted) {
    const judged = flags.save
      ? "what was measured until then is stored and judged"
      : "what was stored before is judged";
    console.error(`\nInterrupted: ${judged}.`);
    return EXIT.interrupted;
  }
  return asked.some(({ verdict }) => verdict === "not measured yet") ? EXIT.failed : EXIT.ok;
});
