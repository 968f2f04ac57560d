/**
 * Compares experiments with the first one named, in interleaved rounds, and prints each ratio with its 98 % interval.
 *
 * deno task compare epoll event-loop io-uring --connections 100,1000 --rounds 10
 */
import { catalogue, type Experiment, find } from "../lib/catalogue/catalogue.ts";
import { compare, type ComparePlan } from "../lib/compare/compare.ts";
import { UsageError } from "../lib/cli/errors.ts";
import { numberFlag, numberList, parseFlags, runScript } from "../lib/cli/flags.ts";
import { differences } from "../lib/server/manifest.ts";
import { writeStudy } from "../lib/results/studies.ts";
import { obstacleTo } from "../lib/catalogue/tools.ts";
import { table } from "../lib/text/table.ts";
import { HEAVY_SHARE, HEAVY_US, MIN_ROUNDS } from "../lib/results/conventions.ts";
import type { ComparisonRow } from "../lib/results/rows.ts";
import { comparison } from "../lib/tables/comparison.ts";
import type { Manifest } from "../lib/results/schema.ts";

const USAGE =
  `Usage: deno task compare <reference> <candidate>… [--all] [--family F] [--connections 100,1000] [--rounds 10]
       [--scenario throughput|rate|mixed|hold] [--rate N|half (requests/s)] [--work ${HEAVY_US}] [--seconds S] [--quick]
       [--json] [--no-save]
       --all: with every experiment and peer that runs here; --family F: with those of a family. The reference is epoll
       unless it is named. --work: of mixed, what one request of a hundred burns, in CPU-µs; several by commas.`;
const SCENARIOS = ["throughput", "rate", "mixed", "hold"] as const;
const MAX_WORK_US = 100_000; // experiments burn no more
const SECONDS = { throughput: 0.5, rate: 1, mixed: 2, hold: 1 };

type Flags = Record<"scenario" | "rate" | "rounds" | "seconds" | "connections" | "family" | "work", string | undefined>;

function readPlans(flags: Partial<Flags> & { quick: boolean }, signal: AbortSignal): ComparePlan[] {
  const scenario = SCENARIOS.find((name) => name === (flags.scenario ?? "throughput"));
  if (scenario === undefined) throw new UsageError(`--scenario ${flags.scenario} is none of ${SCENARIOS.join(", ")}.`);
  const isOpen = scenario === "rate" || scenario === "mixed";
  if (flags.rate !== undefined && !isOpen) {
    throw new UsageError(`--rate belongs to rate and mixed, not to ${scenario}.`);
  }
  if (flags.rate === undefined && scenario === "mixed") throw new UsageError("mixed needs a --rate.");
  if (flags.work !== undefined && scenario !== "mixed") throw new UsageError("--work belongs to mixed.");
  const rate = flags.rate ?? "half";
  const quick = flags.quick;
  const plan = {
    scenario,
    rounds: numberFlag("rounds", flags.rounds ?? (quick ? "3" : "10"), { min: 1, max: 1000, integer: true }),
    seconds: numberFlag("seconds", flags.seconds ?? String(SECONDS[scenario] / (quick ? 2 : 1)), {
      min: 0.1,
      max: 600,
    }),
    slices: quick ? 4 : 8,
    ratePerS: !isOpen ? null : rate === "half" ? rate : numberFlag("rate", rate, { min: 1, max: 1e6 }),
    settleSeconds: 10,
    signal,
  } as const;
  const work = { min: 0, max: MAX_WORK_US, integer: true };
  const heavy = scenario === "mixed"
    ? numberList("work", flags.work ?? String(HEAVY_US), work).map((us) => ({ share: HEAVY_SHARE, us }))
    : [null];
  return numberList("connections", flags.connections ?? "100", { min: 1, max: 1e6, integer: true })
    .flatMap((connections) => heavy.map((heavy) => ({ ...plan, connections, heavy })));
}

/** The reference and those it is compared with. */
async function readNames(
  names: string[],
  all: boolean,
  family: string | undefined,
): Promise<[Experiment, Experiment[]]> {
  const reference = find(names[0] ?? "epoll");
  if (!all && family === undefined) {
    if (names.length < 2) throw new UsageError("Name a reference and at least one candidate.");
    if (new Set(names.slice(1)).size < names.length - 1) throw new UsageError("Name each candidate once.");
    return [reference, names.slice(1).map((name) => find(name))];
  }
  if (names.length > 1) throw new UsageError("With --all or --family name the reference alone.");
  const wanted = catalogue().filter((of) =>
    of.name !== reference.name && (family === undefined || of.family === family)
  );
  const chosen = (await Promise.all(wanted.map(async (of) => await obstacleTo(of) === null ? [of] : []))).flat();
  if (chosen.length === 0) throw new UsageError(`No other experiment of the family ${family} runs here.`);
  return [reference, chosen];
}

await runScript(USAGE, async () => {
  const flags = parseFlags(Deno.args, {
    string: ["connections", "rounds", "seconds", "rate", "scenario", "family", "work"],
    boolean: ["json", "all", "quick", "save"],
    negatable: ["save"],
    defaults: { save: true },
  });
  const interrupt = new AbortController();
  Deno.addSignalListener("SIGINT", () => interrupt.abort());
  const [reference, candidates] = await readNames(flags._, flags.all, flags.family);
  const rows: ComparisonRow[] = [];
  const manifests = new Map<string, Manifest>();
  const tables: string[] = [];
  for (const plan of readPlans(flags, interrupt.signal)) {
    const onRound: ComparePlan["onRound"] = (round, name, values) => {
      const shown = Object.entries(values).filter(([, value]) => value !== null).map(([key, value]) =>
        `${key} ${value!.toFixed(3)}`
      );
      const work = plan.heavy === null ? "" : ` beside ${plan.heavy.us} µs`;
      const where = `${name}/${reference.name} at ${plan.connections}${work}, round ${round} of ${plan.rounds}`;
      console.error(`${where}: ${shown.join(", ")}`);
    };
    const found = await compare(reference, candidates, { ...plan, onRound });
    rows.push(...found.rows);
    for (const [name, manifest] of found.manifests) manifests.set(name, manifest);
    tables.push(comparison(found.rows, table));
  }
  if (interrupt.signal.aborted) console.error("Interrupted: what was compared until then is shown, and not stored.");
  else if (flags.save) {
    const command = `deno task compare ${Deno.args.join(" ")}`;
    console.error(
      `Stored ${await writeStudy("comparison", rows, {
        command,
        quick: flags.quick || rows.every(({ rounds }) => rounds < MIN_ROUNDS),
        manifests: Object.fromEntries(manifests),
      })}`,
    );
  }
  const lines = differences(manifests);
  if (lines.length > 0) tables.push(["Not equal between them:", ...lines].join("\n"));
  console.log(
    flags.json ? JSON.stringify({ rows, manifests: Object.fromEntries(manifests) }, null, 2) : tables.join("\n\n"),
  );
  if (interrupt.signal.aborted) return 130;
  return rows.some(({ rounds }) => rounds > 0) ? 0 : 1;
});
