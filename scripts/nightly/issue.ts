/**
 * The one issue on nightly regressions: what it says, and when it is opened, edited and closed. It decides, and nothing else.
 *
 * @module
 */
import * as v from "valibot";
import { EXIT } from "../../lib/cli/exit.ts";
import { describeKind, HOST_KIND, isSameKind } from "../../lib/regress/baseline.ts";
import { recordMarkdown, type RegressionRecord, undecidedFor } from "../../lib/regress/record.ts";
import { text } from "../../lib/results/check.ts";
import { parseLine } from "../../lib/results/jsonl.ts";

/** An experiment that the issue names. The same experiment on another kind of machine is another entry. */
const ENTRY = v.strictObject({
  experiment: text,
  verdict: v.picklist(["slower", "broken"]),
  kind: HOST_KIND,
  /** When it was found first, in UTC. */
  since: text,
});
export type IssueEntry = v.InferOutput<typeof ENTRY>;

const STATE_SCHEMA = 1;
const STATE = v.strictObject({ schema: v.literal(STATE_SCHEMA), entries: v.array(ENTRY) });

/** The state stands in the first line alone: what a failed server printed stands below, and is never read as state. */
const STATE_LINE = /^<!-- nightly-regression (\{.*\}) -->\r?(?:\n|$)/;

/** GitHub takes 65 536 characters. */
const MAX_BODY = 60_000;

/** The line of the body that {@linkcode readEntries} reads: a comment, which GitHub does not show. */
function stateLine(entries: readonly IssueEntry[]): string {
  const json = JSON.stringify({ schema: STATE_SCHEMA, entries });
  // Nothing in a name may end the comment or its line.
  const safe = json.replace(
    /[<>\u2028\u2029]|-(?=-)/g,
    (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return `<!-- nightly-regression ${safe} -->`;
}

/** The entries of an issue; null if its body has none that can be read, as after an edit by hand. */
export function readEntries(body: string): IssueEntry[] | null {
  const line = STATE_LINE.exec(body)?.[1];
  if (line === undefined) return null;
  const parsed = parseLine<v.InferOutput<typeof STATE>>(line, STATE);
  return "value" in parsed ? parsed.value.entries : null;
}

/** Where a night was measured, as GitHub says it. */
export interface Origin {
  /** What started the run, such as `schedule`. */
  event: string;
  branch: string;
  /** Empty: not known. */
  defaultBranch: string;
  /** The page of the run; null: there is none. */
  run: string | null;
}

/** The open issue. */
export interface OpenIssue {
  number: number;
  body: string;
}

/** What is to be done. */
export type IssueStep =
  | { step: "leave"; reason: string }
  | { step: "open"; title: string; body: string }
  | { step: "edit"; number: number; title: string; body: string }
  | { step: "close"; number: number; comment: string };

const leave = (reason: string): IssueStep => ({ step: "leave", reason });

/** Why the issue is left alone, whatever it says; null: it must be looked at. */
export function reasonToLeave(
  record: RegressionRecord | null,
  { event, branch, defaultBranch }: Origin,
): string | null {
  if (record === null) return "there is no verdict of this night";
  // GitHub runs a schedule on the default branch only.
  if (event !== "schedule" && (branch === "" || branch !== defaultBranch)) return "this is not the default branch";
  if (record.new_baseline) return "a new baseline judges nothing";
  if (record.exit === EXIT.ok || record.exit === EXIT.failed) return null;
  if (record.exit !== EXIT.inconclusive) return `the night ended with exit code ${record.exit}`;
  const undecided = undecidedFor(record);
  return `the night is inconclusive${undecided === null ? "" : `, and ${undecided}`}`;
}

/** The entries of a night. */
const entriesOf = ({ experiments, kind, time }: RegressionRecord): IssueEntry[] =>
  experiments.flatMap(({ experiment, verdict }) =>
    verdict === "slower" || verdict === "broken" ? [{ experiment, verdict, kind, since: time }] : []
  );

const isSameEntry = (a: IssueEntry, b: IssueEntry) => a.experiment === b.experiment && isSameKind(a.kind, b.kind);

/** The entries before and those of a night. One that was there before keeps its date. */
function merged(before: readonly IssueEntry[], found: readonly IssueEntry[]): IssueEntry[] {
  const kept = before.map((entry) => {
    const again = found.find((other) => isSameEntry(entry, other));
    return again === undefined ? entry : { ...again, since: entry.since };
  });
  return [...kept, ...found.filter((entry) => !before.some((other) => isSameEntry(entry, other)))];
}

/** The entries that a night leaves: it speaks of its own kind of machine and its own experiments. */
const unresolved = (entries: readonly IssueEntry[], { kind, experiments }: RegressionRecord): IssueEntry[] =>
  entries.filter((entry) =>
    !isSameKind(entry.kind, kind) ||
    !experiments.some(({ experiment, verdict }) => experiment === entry.experiment && verdict === "not_slower")
  );

const link = (run: string | null, words: string) => run === null ? words : `[${words}](${run})`;

function bodyOf(record: RegressionRecord, entries: readonly IssueEntry[], run: string | null): string {
  const lines = entries.map(({ experiment, verdict, kind, since }) =>
    `- ${experiment}: ${verdict} since ${since.slice(0, 10)} on ${describeKind(kind)}`
  );
  const around = (table: string) =>
    [
      stateLine(entries),
      table,
      `${link(run, "The run")} has all rounds. It was on: ${describeKind(record.kind)}.`,
      "",
      "Those below are open. A night that is not slower on a machine of the same kind closes this. If no such machine " +
      "comes any more, make a new baseline (--new-baseline), and close this by hand.",
      "",
      ...lines,
      "",
    ].join("\n");
  const whole = around(recordMarkdown(record));
  return whole.length <= MAX_BODY ? whole : around("The table is too long for an issue.\n");
}

function titleOf(entries: readonly IssueEntry[]): string {
  const named = (verdict: IssueEntry["verdict"]) => {
    const names = entries.filter((entry) => entry.verdict === verdict).map(({ experiment }) => experiment);
    return names.length === 0 ? [] : [`${verdict}: ${[...new Set(names)].join(", ")}`];
  };
  const title = [...named("slower"), ...named("broken")].join("; ");
  return title.charAt(0).toUpperCase() + title.slice(1);
}

/** What closes an issue on these. */
const closing = (entries: readonly IssueEntry[]): string =>
  entries.every(({ verdict }) => verdict === "broken") ? "It answers again, and is not slower" : "Not slower any more";

/**
 * Decides what happens to the issue. A regression or a broken experiment opens it, or joins what it names. Every night
 * takes out the experiments that it shows to be not slower on the same kind of machine, and closes it with the last one.
 *
 * @param issue The open issue; null: there is none.
 */
export function decideIssue(record: RegressionRecord, issue: OpenIssue | null, run: string | null): IssueStep {
  const found = entriesOf(record);
  const before = issue === null ? [] : readEntries(issue.body);
  if (found.length > 0) {
    const entries = merged(unresolved(before ?? [], record), found);
    const content = { title: titleOf(entries), body: bodyOf(record, entries, run) };
    return issue === null ? { step: "open", ...content } : { step: "edit", number: issue.number, ...content };
  }
  if (issue === null) return leave("no issue is open");
  const { number } = issue;
  if (before === null) return leave(`the body of #${number} does not say what it is about: close it by hand`);
  const open = unresolved(before, record);
  if (open.length === 0) return { step: "close", number, comment: `${closing(before)}: ${link(run, "this run")}.` };
  if (open.length === before.length) return leave(`the night does not judge what #${number} names on such a machine`);
  return { step: "edit", number, title: titleOf(open), body: bodyOf(record, open, run) };
}
