/**
 * The page of one experiment: what it is, what it has shown, and its source.
 *
 * @module
 */
// deno-lint-ignore-file jsx-key -- rendered once, to text: there is nothing that would have to be found again
/** @jsxRuntime automatic */
/** @jsxImportSource preact */
import type { ComponentChildren } from "preact";
import { count } from "../../../lib/text/format.ts";
import type { Experiment } from "../../../lib/catalogue/header.ts";
import type { Prediction } from "../../../lib/claims/prediction.ts";
import type { Result } from "../../../lib/results/results.ts";
import { label, serverCost } from "../../../lib/tables/runs.ts";
import type { ReportContents } from "../contents.ts";
import { newestRuns, runColumns } from "../runs.ts";
import { brokenBy, heldText } from "../servers.ts";
import { highlighted, type SourceFile, systemCalls } from "../source.ts";
import { Command, DataTable, Family, MachineLink, type PageColumn, Prose } from "./parts.tsx";
import type { Shown } from "../../../lib/results/choose.ts";

const Finding = ({ id, sentence }: { id: string; sentence: string }) => (
  <a class="finding" href={`#finding-${id}`} title={sentence}>{id}</a>
);

const shownColumns = (runs: readonly Result[]): PageColumn<Result>[] => [
  ...runColumns(runs),
  {
    heading: "how it ended",
    cell: ({ ended, reason }) => reason === null ? ended : <span class="reason">{ended}: {reason}</span>,
    left: true,
  },
  { heading: "caveats", cell: ({ findings }) => findings.map((of) => <Finding {...of} />), left: true },
  {
    heading: "made",
    cell: ({ time }) => <time dateTime={time}>{time.slice(0, 16).replace("T", " ")}</time>,
    left: true,
  },
  { heading: "repeat it", cell: ({ command }) => <Command text={command} />, left: true },
];

const Term = ({ name, children }: { name: string; children: ComponentChildren }) => (
  <div>
    <dt>{name}</dt>
    <dd>{children}</dd>
  </div>
);

/** What was predicted, and what became of it. */
const Predicted = ({ text, outcome }: { text: string; outcome: Prediction | undefined }) => (
  <>
    <Prose text={text} />
    {outcome && <span class={`outcome ${outcome.outcome}`}>{outcome.sentence}</span>}
  </>
);

/** What became of the prediction on other machines, where this one leaves it open. */
function Elsewhere({ name, contents }: { name: string; contents: ReportContents }) {
  if (contents.predictions.get(name)?.outcome !== "open") return null;
  const decided = contents.others.flatMap(({ machine, predictions }) => {
    const outcome = predictions.get(name)?.outcome;
    return outcome === undefined || outcome === "open" ? [] : [{ machine, outcome }];
  });
  return (
    <>
      {decided.map(({ machine, outcome }) => (
        <span class={`outcome ${outcome}`}>
          On <MachineLink machine={machine} section={name} />: {outcome}.
        </span>
      ))}
    </>
  );
}

interface AboutProps {
  experiment: Experiment;
  contents: ReportContents;
  known: ReadonlySet<string>;
}

function About({ experiment, contents, known }: AboutProps) {
  const { idea, question, prediction, simplified, cannot, fairness, needs, sources, compare } = experiment;
  const cannots = Object.entries(cannot);
  return (
    <dl class="about">
      <Term name="Question">
        <Prose text={question} />
      </Term>
      <Term name="Idea">
        <Prose text={idea} />
      </Term>
      <Term name="Prediction">
        <Predicted text={prediction} outcome={contents.predictions.get(experiment.name)} />
        <Elsewhere name={experiment.name} contents={contents} />
      </Term>
      <Term name="What it simplifies">
        <Prose text={simplified} />
      </Term>
      {cannots.length > 0 && (
        <Term name="What it cannot">
          <ul>
            {cannots.map(([id, sentence]) => (
              <li>
                <code>{id}</code>: <Prose text={sentence} />
              </li>
            ))}
          </ul>
        </Term>
      )}
      {fairness && (
        <Term name="Fairness">
          <Prose text={fairness} />
        </Term>
      )}
      {needs.length > 0 && (
        <Term name="Needs">
          {needs.map(({ thing, package: name }) => name === null ? thing : `${thing} (package ${name})`).join(", ")}
        </Term>
      )}
      <Term name="Compare with">
        {compare.map((name, i) => <>{i > 0 && ", "}{known.has(name) ? <a href={`#${name}`}>{name}</a> : name}</>)}
      </Term>
      <Term name="Sources">
        <Prose text={sources} />
      </Term>
    </dl>
  );
}

function Source({ file }: { file: SourceFile }) {
  const calls = systemCalls(file);
  const html = { __html: highlighted(file) }; // the highlighter escapes it
  return (
    <details class="source">
      <summary>
        <code>{file.path}</code> <small>{count(file.text.trimEnd().split("\n").length)} lines of {file.language}</small>
      </summary>
      {calls.length > 0 && (
        <p class="calls">
          System calls in it, marked below: {calls.map((name, i) => (
            <>
              {i > 0 && ", "}
              <code>{name}</code>
            </>
          ))}
        </p>
      )}
      <pre
        tabIndex={0}
        role="region"
        aria-label={`Source of ${file.path}`}
      ><code dangerouslySetInnerHTML={html} /></pre>
    </details>
  );
}

function Runs({ name, results }: { name: string; results: readonly Result[] }) {
  const { runs, others } = newestRuns(results, name);
  if (runs.length === 0) return null;
  const raw = runs.filter(({ metrics }) => metrics.raw_p99_us !== null).map(label);
  return (
    <>
      <DataTable caption={`${name}: the newest whole run of each kind`} rows={runs} columns={shownColumns(runs)} />
      {(others > 0 || raw.length > 0) && (
        <p class="small">
          {others > 0 && `Other runs, in the download: ${count(others)}. `}
          {raw.length > 0 && "In an open loop latency counts from the time at which a request was due."}
        </p>
      )}
    </>
  );
}

/** The one line of an experiment whose page is folded. */
function Summary({ row }: { row: Shown }) {
  const { experiment: { name, title, family, peer }, hold, throughput } = row;
  const figures = [
    hold && `holds ${heldText(row)}`,
    throughput && `${serverCost(throughput, 1)} CPU-µs per request`,
  ].filter((of) => of !== undefined);
  return (
    <summary>
      <h3 id={`${name}-heading`}>{name}</h3>
      <span class="kicker">
        <Family name={family} />
        {peer && " · peer"}
        {figures.map((of) => ` · ${of}`)}
      </span>
      <span class="lead">
        <Prose text={title.replace(`${name}: `, "")} />
      </span>
    </summary>
  );
}

/** The page of one experiment, folded to its name, title and figures. */
export function ExperimentPage({ row, contents }: { row: Shown; contents: ReportContents }) {
  const { experiment } = row;
  const { name, run } = experiment;
  const known = new Set(contents.shown.map((of) => of.experiment.name));
  return (
    <article id={name} class="experiment" aria-labelledby={`${name}-heading`}>
      <details>
        <Summary row={row} />
        <About experiment={experiment} contents={contents} known={known} />
        <h4>What stopped it</h4>
        <p class="broken">
          <Prose text={brokenBy(row, contents)} />
        </p>
        <Runs name={name} results={contents.results} />
        <h4>Run it</h4>
        <ul class="commands">
          <li>
            <Command text={`deno task exp:${name}`} /> loads it and measures
          </li>
          <li>
            <Command text={run} /> serves, from the folder of its file
          </li>
          <li>
            <Command text={experiment.try} /> asks it
          </li>
        </ul>
        <h4>Source</h4>
        <div data-sources={name}>{contents.sources.get(name)?.map((file) => <Source file={file} />)}</div>
      </details>
    </article>
  );
}
