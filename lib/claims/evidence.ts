/**
 * Where the rules find their figures. For one that is not stored they name the command that makes it.
 *
 * @module
 */
import { runsHere } from "../catalogue/catalogue.ts";
import { describeHost, type HostFacts } from "../sampling/host.ts";
import { type Found, isDisturbedCall, isDisturbedProbe, isSpoilt } from "../results/findings.ts";
import type { Metrics, Result, ScenarioName } from "../results/results.ts";
import { fullRuns, quickRuns, resultPath, type Stored, studyPath } from "../results/stored.ts";
import { type Study } from "../results/studies.ts";
import { exactly, type Figure, MARGIN, once } from "./figure.ts";
import { type Asked, directIn, NotTestable, RATE_PER_S, type Ratio, viaThirdIn } from "./ratio.ts";
import { type Slo, sloOf } from "../results/capacity.ts";
import { C10K, CROWD, isUsualMessage, SCALING, SWEEP } from "../results/conventions.ts";
import type {
  ComparisonRow,
  CrosscheckRow,
  Kind,
  ProbeRow,
  ReadinessRow,
  Rows,
  ScalingRow,
  SweepRow,
} from "../results/rows.ts";

/** A figure that is not stored, and the commands that make it. */
export class NotMeasured extends Error {
  override readonly name = "NotMeasured";
  constructor(readonly command: string, readonly quick: string) {
    super(`\`${command}\` measures it`);
  }
}

/** A run of `hold`. */
export interface Held {
  answered: Figure;
  metrics: Metrics;
  reason: string | null;
  /** How many descriptors a process might have in it: null if nothing is known of a limit. */
  descriptors: number | null;
  /** The machine of the run, as it was then. */
  host: HostFacts;
  /** What weakens the run. */
  findings: readonly Found[];
  /** The file of the run. */
  path: string;
}

/**
 * The figures for one claim, which remembers what it was asked for. Whole figures come first, and of these the newest; quick
 * ones only where there is no whole one, and only if they are allowed.
 */
export class Evidence {
  readonly #stored: Stored;
  readonly #allowQuick: boolean;
  /** Files and commands of the figures that were taken. */
  readonly paths: Set<string> = new Set();
  readonly commands: Set<string> = new Set();
  /** The machines that they were measured on, in words. */
  readonly hosts: Set<string> = new Set();
  /** Whether one of them was quick. */
  usedQuick = false;

  constructor(stored: Stored, allowQuick = false) {
    this.#stored = stored;
    this.#allowQuick = allowQuick;
  }

  get host(): HostFacts {
    return this.#stored.host;
  }

  /** Puts the file of the figures that decide before all others: a verdict links to the first one. */
  showFirst(path: string): void {
    const rest = [...this.paths].filter((other) => other !== path);
    this.paths.clear();
    for (const one of [path, ...rest]) this.paths.add(one);
  }

  #take(path: string, { command, host }: Pick<Result, "command" | "host">, isQuick: boolean): void {
    this.paths.add(path);
    this.commands.add(command);
    this.hosts.add(describeHost(host));
    this.usedQuick ||= isQuick;
  }

  /** Why an experiment cannot run here, by its system, or by all runs that were tried; null: it can. */
  whyNot(name: string): string | null {
    const experiment = this.#stored.experiments.find((of) => of.name === name);
    if (experiment === undefined) return `there is no experiment ${name}`;
    const { os, kernel } = this.host;
    const answer = runsHere(experiment, { os, kernel });
    if (!answer.runs) return answer.reason.replace(/\.$/, "");
    const tried = this.#stored.results.filter((of) => of.experiment === name);
    const reason = tried.every(({ ended }) => ended === "skipped") ? tried.at(-1)?.reason : null;
    return reason?.replace(/\.$/, "") ?? null;
  }

  /** The newest result, or the one that `choose` takes, of the whole ones; of the quick ones where there is no whole one. */
  #result(name: string, scenario: ScenarioName, command: string, choose = (runs: Result[]) => runs.at(-1)): Result {
    const whole = choose(fullRuns(this.#stored, name, scenario));
    const found = whole ?? (this.#allowQuick ? choose(quickRuns(this.#stored, name, scenario)) : undefined);
    if (found === undefined) {
      const skipped = this.#stored.results.findLast((of) => of.experiment === name && of.ended === "skipped");
      if (skipped !== undefined) throw new NotTestable(skipped.reason ?? `${name} was skipped`);
      throw new NotMeasured(command, `${command} --quick`);
    }
    this.#take(resultPath(found), found, whole === undefined);
    return found;
  }

  /** A run of `hold`; of those that were asked for enough the one that was asked for the fewest, and of these the newest. */
  held(name: string, atLeast: number = C10K): Held {
    return this.#climb(name, "hold", atLeast);
  }

  /** The same of `broadcast`, where nobody was slow: its answers are deliveries. */
  broadcast(name: string, atLeast: number = C10K): Held {
    return this.#climb(name, "broadcast", atLeast);
  }

  #climb(name: string, scenario: "hold" | "broadcast", atLeast: number): Held {
    const asked = (of: Result) => of.parameters.connections;
    const choose = (runs: Result[]) => {
      const enough = runs.filter((of) => asked(of) >= atLeast && isUsualMessage(of.parameters));
      const fewest = Math.min(...enough.map(asked));
      return enough.findLast((of) => asked(of) === fewest);
    };
    const command = `deno task exp ${name} --scenario ${scenario} --connections ${atLeast}`;
    const found = this.#result(name, scenario, command, choose);
    const { metrics, reason, host } = found;
    return {
      answered: exactly(metrics.answered ?? 0),
      metrics,
      reason,
      descriptors: host.limits.nofile_soft,
      host,
      findings: found.findings,
      path: resultPath(found),
    };
  }

  /** A figure of memory at 10 000 connections, of a single run. */
  memory(name: string, metric: keyof Metrics): Figure {
    const value = this.held(name).metrics[metric];
    if (value === null || value === undefined) throw new NotTestable(`${metric} of ${name} is not known`);
    return once(value, MARGIN.memory);
  }

  /** The most connections that any server has held, of all whole runs; null: there is no run with `atLeast` so many. */
  heldMost(atLeast: number): { name: string; answered: Figure } | null {
    const runs = this.#stored.experiments.flatMap(({ name }) => fullRuns(this.#stored, name, "hold"));
    const most = runs.toSorted((a, b) => (b.metrics.answered ?? 0) - (a.metrics.answered ?? 0))[0];
    if (most === undefined || (most.metrics.answered ?? 0) < atLeast) return null;
    this.#take(resultPath(most), most, false);
    return { name: most.experiment, answered: exactly(most.metrics.answered ?? 0) };
  }

  /** What `look` finds of each; those that cannot be had here are left out, unless none can. */
  each<T>(names: readonly string[], look: (name: string) => T): { name: string; value: T }[] {
    const found: { name: string; value: T }[] = [];
    const reasons: string[] = [];
    for (const name of names) {
      try {
        found.push({ name, value: look(name) });
      } catch (error) {
        if (!(error instanceof NotTestable)) throw error;
        reasons.push(error.message);
      }
    }
    if (found.length === 0) throw new NotTestable(reasons.join("; "));
    return found;
  }

  /** The run under full load; none in which others took CPU time. */
  throughput(name: string): Metrics {
    const choose = (runs: Result[]) => runs.findLast(({ findings }) => !isSpoilt(findings));
    return this.#result(name, "throughput", `deno task exp ${name} --scenario throughput`, choose).metrics;
  }

  /** The newest study that has what is looked for; several looks: what the first one finds comes before what the next does. */
  #study<K extends Kind, T>(
    kind: K,
    looks: readonly ((rows: readonly Rows[K][]) => T | undefined)[],
    command: string,
    quick: string,
  ) {
    const studies = this.#stored.studies[kind] as readonly Study<K>[];
    const whole = studies.filter(({ quick }) => !quick);
    const rest = this.#allowQuick ? studies.filter(({ quick }) => quick) : [];
    for (const some of [whole, rest]) {
      for (const look of looks) {
        for (const study of some.toReversed()) {
          const found = look(study.rows);
          if (found === undefined) continue;
          this.#take(studyPath(study), study, some === rest);
          return found;
        }
      }
    }
    throw new NotMeasured(command, quick);
  }

  /** What one wait call costs at so many descriptors, in µs. */
  call(call: ReadinessRow["call"], descriptors: number): Figure {
    const look = (rows: readonly ReadinessRow[]) =>
      rows.find((row) => row.call === call && row.descriptors === descriptors && !isDisturbedCall(row));
    const row = this.#study(
      "readiness",
      [look],
      "deno task readiness",
      "deno task readiness --sizes 10,1000,10000 --batches 7",
    );
    return { estimate: row.wait_us, low: row.wait_us_low, high: row.wait_us_high };
  }

  /**
   * What `of` needs for what `to` needs: by a comparison of the two, or, at worst, of both with a third. One that says nothing,
   * for the load generator was at its limit, comes last.
   *
   * @throws {NotTestable} If one of them could not take part.
   */
  ratio(asked: Asked): Ratio {
    const { scenario, connections, of, to } = asked;
    const rate = RATE_PER_S[scenario];
    const open = ` --scenario ${scenario}${rate === undefined ? "" : ` --rate ${rate}`}`;
    const ways = [directIn, viaThirdIn].map((way) => (rows: readonly ComparisonRow[]) => way(rows, asked));
    const telling = ways.map((way) => (rows: readonly ComparisonRow[]) => {
      const found = way(rows);
      return found?.isVoid ? undefined : found;
    });
    const command = `deno task compare ${to} ${of}${open} --connections ${connections}`;
    return this.#study(
      asked.isWired === true ? "wire" : "comparison",
      [...telling, ...ways],
      command,
      `${command} --quick`,
    );
  }

  /**
   * One figure of a probe.
   *
   * @throws {NotTestable} If the probe says that it cannot be had here.
   */
  probe(probe: string, variant: string, metric: string): Figure {
    const row = this.#probed(probe, (row) => row.metric === metric && row.variant === variant)[0]!;
    if (row.value === null) throw new NotTestable(`${variant}: ${row.note ?? "no figure"}`);
    return { estimate: row.value, low: row.low, high: row.high };
  }

  /**
   * The figures of a probe in one metric, of all variants that fit and have one: a quick probe has fewer variants.
   *
   * @throws {NotTestable} If none of them can be had here.
   */
  probes(probe: string, metric: string, fits: (variant: string) => boolean): { name: string; value: Figure }[] {
    const rows = this.#probed(probe, (row) => row.metric === metric && fits(row.variant));
    const known = rows.filter(({ value }) => value !== null);
    if (known.length === 0) throw new NotTestable(`${rows[0]!.variant}: ${rows[0]!.note ?? "no figure"}`);
    return known.map(({ variant, value, low, high }) => ({ name: variant, value: { estimate: value!, low, high } }));
  }

  /** The same, in metrics that a study may lack, or that could not be read in it: those that are there. */
  probesAsFarAsKnown(probe: string, variant: string, metrics: readonly string[]): { metric: string; value: Figure }[] {
    const rows = this.#probed(probe, (row) => row.variant === variant);
    const known = rows.filter(({ metric, value }) => metrics.includes(metric) && value !== null);
    return known.map(({ metric, value, low, high }) => ({ metric, value: { estimate: value!, low, high } }));
  }

  /** One row at least. */
  #probed(probe: string, fits: (row: ProbeRow) => boolean): ProbeRow[] {
    const look = (rows: readonly ProbeRow[]) => {
      const found = rows.filter((row) => row.probe === probe && fits(row) && !isDisturbedProbe(row));
      return found.length > 0 ? found : undefined;
    };
    const isCrowd = probe === CROWD.probe;
    const command = isCrowd ? CROWD.command : `deno task probe ${probe}`;
    return this.#study("probe", [look], command, `${command} ${isCrowd ? "--hold 0" : "--quick"}`);
  }

  /**
   * One server on more and more cores: its rows by their number of cores, ascending, that of one core included.
   *
   * @throws {NotTestable} If it could not be measured.
   */
  scaling(server: string): ScalingRow[] {
    const look = (rows: readonly ScalingRow[]) => {
      const own = rows.filter((row) => row.server === server);
      return own.length > 0 ? own : undefined;
    };
    const rows = this.#study("scaling", [look], SCALING.command, `${SCALING.command} ${server} --quick`);
    const measured = rows.filter(({ speed_up }) => speed_up !== null);
    if (!measured.some(({ cores }) => cores > 1)) {
      throw new NotTestable(`${server}: ${rows[0]!.reason ?? "no speed-up"}`);
    }
    return measured.toSorted((a, b) => a.cores - b.cores);
  }

  /** The newest sweep with an objective, and that objective. */
  sweep(): { rows: readonly SweepRow[]; slo: Slo | null } {
    const look = (rows: readonly SweepRow[]) => sloOf(rows) === null ? undefined : rows;
    const rows = this.#study(
      "sweep",
      [look],
      SWEEP.command,
      `${SWEEP.command} --quick`,
    );
    return { rows, slo: sloOf(rows) };
  }

  /** What clients counted, and what the server did. */
  crosscheck(): readonly CrosscheckRow[] {
    const quick = "deno task crosscheck epoll --rounds 2 --seconds 1";
    return this.#study(
      "crosscheck",
      [(rows) => rows.length > 0 ? rows : undefined],
      "deno task crosscheck epoll",
      quick,
    );
  }
}
