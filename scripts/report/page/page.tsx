/**
 * The whole report as one file of HTML: it loads nothing.
 *
 * @module
 */
// deno-lint-ignore-file jsx-key -- rendered once, to text: there is nothing that would have to be found again
/** @jsxRuntime automatic */
/** @jsxImportSource preact */
import { Buffer } from "node:buffer";
import type { ComponentChildren } from "preact";
import { renderToString } from "preact-render-to-string";
import { INTER } from "../../../lib/page/fonts.ts";
import { folded, isEmpty } from "../../../lib/charts/config.ts";
import { FAMILY, GROUND } from "../../../lib/charts/theme.ts";
import { count, unbroken } from "../../../lib/text/format.ts";
import { toldWith } from "../../../lib/claims/headlines.ts";
import { machines } from "../../../lib/tables/overview.ts";
import type { PageData } from "../data.ts";
import { comparingFigures, ladderFigure, nightFigures } from "../figures.ts";
import type { ReportContents } from "../contents.ts";
import { flatRun } from "../runs.ts";
import { serverColumns, serverRows } from "../servers.ts";
import { Comparing, Downloads } from "./comparison.tsx";
import { Faults } from "./faults.tsx";
import { ExperimentPage } from "./experiment.tsx";
import { Machines } from "./evidence.tsx";
import { Ladder } from "./ladder.tsx";
import { Nights } from "./trends.tsx";
import { Command, MachineLink, Prose } from "./parts.tsx";
import style from "./style.css" with { type: "text" };
import { Findings } from "./findings.tsx";
import { Claims } from "./claims.tsx";

/** The scripts of the page. */
export interface Scripts {
  /** Runs before anything is drawn. */
  head: string;
  /** Runs when all is there. */
  main: string;
}

const face = (font: Uint8Array, weight: number) =>
  `@font-face{font-family:Inter;font-weight:${weight};font-display:swap;` +
  `src:url(data:font/woff2;base64,${Buffer.from(font).toString("base64")}) format("woff2")}`;

/** The colours of charts, so that text and charts cannot differ. */
function palette(): string {
  const { light, dark } = GROUND;
  const ground = (["page", "text", "faint", "grid"] as const).map((name) => [name, light[name], dark[name]]);
  const families = Object.entries(FAMILY).map(([name, of]) => [name, of.light, of.dark]);
  return `:root{${[...ground, ...families].map(([name, l, d]) => `--${name}:light-dark(${l},${d})`).join(";")}}`;
}

/** What the script needs of one machine. */
function dataOf(contents: ReportContents): PageData {
  const figures = [
    ladderFigure(contents.shown.filter(({ experiment }) => !experiment.peer), contents),
    ...comparingFigures(contents),
    ...nightFigures(contents),
  ];
  return {
    charts: Object.fromEntries(
      figures.filter(({ spec }) => !isEmpty(folded(spec).spec)).map(({ id, spec }) => [id, spec]),
    ),
    downloads: {
      servers: serverRows(contents, serverColumns(contents)),
      runs: contents.results.map(flatRun),
      comparisons: contents.comparisons.flatMap(({ rows, study }) =>
        rows.map(({ findings, ...row }) => ({
          ...row,
          findings: findings.map(({ server, id }) => `${server}: ${id}`).join("; "),
          command: study.command,
        }))
      ),
    },
  };
}

/** What the script needs, by machine, as JSON that may stand in a page. */
function data(machines: readonly ReportContents[]): string {
  const all: Record<string, PageData> = Object.fromEntries(machines.map((of) => [of.machine, dataOf(of)]));
  return JSON.stringify(all).replaceAll("<", "\\u003c");
}

const Html = ({ tag: Tag, html, ...rest }: { tag: "style" | "script"; html: string; [attribute: string]: string }) => (
  <Tag {...rest} dangerouslySetInnerHTML={{ __html: html }} />
);

const SECTIONS: [id: string, title: string][] = [
  ["answer", "What came out"],
  ["question", "The question"],
  ["ladder", "The ladder"],
  ["comparison", "Side by side"],
  ["nights", "Night by night"],
  ["faults", "What breaks it"],
  ["experiments", "Experiments"],
  ["peers", "Peers"],
  ["claims", "Claims"],
  ["findings", "What weakens figures"],
  ["machine", "The machine"],
];

const Contents = ({ shown }: ReportContents) => (
  <nav class="contents" aria-label="Contents">
    <ul>
      {SECTIONS.map(([id, title]) => (
        <li>
          <a href={`#${id}`}>{title}</a>
          {(id === "experiments" || id === "peers") && (
            <ul>
              {shown.filter(({ experiment }) => experiment.peer === (id === "peers")).map((
                { experiment: { name, family } },
              ) => (
                <li>
                  <a href={`#${name}`}>
                    <span class="dot" style={`--dot:var(--${family})`} aria-hidden="true"></span>
                    {name}
                  </a>
                </li>
              ))}
            </ul>
          )}
        </li>
      ))}
    </ul>
  </nav>
);

/** What is no text to read, or may be copied: scripts, styles, code, and the tags themselves. */
const MARKUP = /<(script|style|pre|code)\b[\s\S]*?<\/\1>|<(?:"[^"]*"|[^">])*>/;
const PARTS = new RegExp(`${MARKUP.source}|(?<text>[^<]+)`, "g");

/** Keeps each figure on one line, in all that a page says. A hyphen lets a line break, so a unit with one is an element. */
export const withoutBreaks = (html: string): string =>
  html.replace(PARTS, (all: string, ...rest: unknown[]) => {
    const { text } = rest.at(-1) as { text?: string };
    return text === undefined
      ? all
      : unbroken(text).replace(/\b(?:CPU|core)-µs/g, (unit) => `<span class="unit">${unit}</span>`);
  });

/** What came out; what only another machine has, from there, with its name. */
const Answer = ({ headlines, others }: ReportContents) => (
  <section id="answer" aria-labelledby="answer-heading">
    <h2 id="answer-heading">What came out</h2>
    <p class="small">
      × is a ratio of two costs, and brackets behind a figure are its 98 % interval, here and below.
    </p>
    <ul class="headlines">
      {toldWith(headlines, others).map(({ title, text, machine }) => (
        <li>
          {title !== null && <strong>{title}</strong>}
          {title !== null && " "}
          {machine !== null && (
            <>
              On <MachineLink machine={machine} section="answer" />, not on this machine:{" "}
            </>
          )}
          <Prose text={text} />
        </li>
      ))}
    </ul>
    <p class="small">
      Which architecture for a load of your own: <code>deno task advise --connections 10000 --idle 99</code>
    </p>
  </section>
);

const Question = ({ shown, results, comparisons }: ReportContents) => (
  <section id="question" aria-labelledby="question-heading">
    <h2 id="question-heading">The question</h2>
    <p class="prose opening">
      A server talks with many clients at once, and most of them are silent most of the time. What does it keep for each
      of them: a process, a thread, or a few bytes? In 1999 Dan Kegel gave the question a number: ten thousand clients
      on one server, the C10K problem. Here each answer of the field is a program that runs. Each one is loaded until it
      breaks on one machine; this page shows how many connections it held, what they cost and what stopped it. No figure
      was typed by hand.
    </p>
    <dl class="facts">
      <Fact name="experiments of this project">
        {count(
          shown.filter(({ experiment }) =>
            !experiment.peer
          ).length,
        )}
      </Fact>
      <Fact name="peers in other runtimes">{count(shown.filter(({ experiment }) => experiment.peer).length)}</Fact>
      <Fact name="runs stored">{count(results.length)}</Fact>
      <Fact name="comparisons shown">{count(comparisons.length)}</Fact>
    </dl>
    <p class="small">{machines(results)}</p>
  </section>
);

const Fact = ({ name, children }: { name: string; children: ComponentChildren }) => (
  <div>
    <dt>{name}</dt>
    <dd>{children}</dd>
  </div>
);

function Pages(
  { id, title, peers, contents }: { id: string; title: string; peers: boolean; contents: ReportContents },
) {
  return (
    <section id={id} aria-labelledby={`${id}-heading`}>
      <h2 id={`${id}-heading`}>{title}</h2>
      {contents.shown.filter(({ experiment }) => experiment.peer === peers).map((row) => (
        <ExperimentPage row={row} contents={contents} />
      ))}
    </section>
  );
}

const Foot = ({ time, passedOver }: ReportContents) => (
  <footer>
    <p>
      <Command text="deno task report" /> wrote this file from results/ at{" "}
      <time dateTime={time}>{time.slice(0, 16).replace("T", " ")} UTC</time>. It loads nothing and sends nothing.
    </p>
    {passedOver.length > 0 && <ul>{passedOver.map(({ path, why }) => <li>Passed over {path}: {why}</li>)}</ul>}
  </footer>
);

/** All that depends on the figures of one machine. */
const Sections = (contents: ReportContents) => (
  <>
    <h1>How should a server hold its connections?</h1>
    <Answer {...contents} />
    <Question {...contents} />
    <Ladder {...contents} />
    <Comparing {...contents} />
    <Nights {...contents} />
    <Faults {...contents} />
    <Pages id="experiments" title="Experiments" peers={false} contents={contents} />
    <Pages id="peers" title="Peers" peers contents={contents} />
    <Downloads of="runs" what="All runs, without their histograms" />
    <Claims {...contents} />
    <Findings {...contents} />
    <Machines {...contents} />
  </>
);

/** Chooses the machine whose figures are shown, where results of several are stored. */
const MachineChoice = ({ machines }: { machines: readonly ReportContents[] }) => (
  <label class="machine needs-script">
    <span>Machine</span>
    <select id="machine-choice">
      {machines.map(({ machine }) => <option value={machine}>{machine}</option>)}
    </select>
  </label>
);

/** The page: the sections of the first machine, and those of the others as templates that a script puts in their place. */
const Body = ({ first, others }: { first: ReportContents; others: readonly ReportContents[] }) => (
  <>
    <a class="skip" href="#main">Skip to the content</a>
    <header class="top">
      <p class="brand">C10K lab</p>
      {others.length > 0 && <MachineChoice machines={[first, ...others]} />}
      <button type="button" id="theme" class="needs-script">Dark</button>
    </header>
    <div class="frame">
      <Contents {...first} />
      <main id="main" tabIndex={-1} data-machine={first.machine}>
        <Sections {...first} />
      </main>
    </div>
    {others.map((contents) => (
      <template data-machine={contents.machine}>
        <Sections {...contents} sources={new Map()} />
      </template>
    ))}
    <Foot {...first} />
  </>
);

/**
 * Renders the report. The same contents gives the same text.
 *
 * @param contents What is shown first.
 * @param scripts The scripts of the page.
 * @param others The same of other machines: the reader can choose one of them.
 */
export function renderReport(
  contents: ReportContents,
  { head, main }: Scripts,
  others: readonly ReportContents[] = [],
): string {
  const all = [contents, ...others];
  const [first, ...rest] = all.map((one) => ({ ...one, others: all.filter((other) => other !== one) }));
  return `<!DOCTYPE html>\n${
    withoutBreaks(renderToString(
      <html lang="en">
        <head>
          <meta charset="utf-8" />
          <meta name="viewport" content="width=device-width, initial-scale=1" />
          <title>C10K lab: how should a server hold its connections?</title>
          <link rel="icon" href="data:," />
          <Html tag="style" html={`${face(INTER[400], 400)}${face(INTER[600], 600)}${palette()}${style}`} />
          <Html tag="script" html={head} />
        </head>
        <body>
          <Body first={first!} others={rest} />
          <Html tag="script" type="application/json" id="data" html={data([first!, ...rest])} />
          <Html tag="script" html={main} />
        </body>
      </html>,
    ))
  }\n`;
}
