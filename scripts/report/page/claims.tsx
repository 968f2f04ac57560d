/**
 * The claims of the report.
 *
 * @module
 */
// deno-lint-ignore-file jsx-key -- rendered once, to text: nothing has to be found again
/** @jsxRuntime automatic */
/** @jsxImportSource preact */
import type { Judged } from "../../../lib/claims/ledger.ts";
import { Command, DataTable, type PageColumn, Prose, Unmeasured } from "./parts.tsx";
import { figureOf, tally, TEXTS } from "../../../lib/claims/table.ts";
import type { ClaimsFile } from "../../../lib/claims/file.ts";
import { bytes, count } from "../../../lib/text/format.ts";
import type { ReportContents } from "../contents.ts";

/** A file of figures, with a link to the server of which it is, where this page has it. */
export function FileOf({ path, servers }: { path: string; servers: ReadonlySet<string> }) {
  const name = path.split("/")[2] ?? ""; // results/<machine>/<server>/<file>
  return (
    <dd>
      {servers.has(name) && <a href={`#${name}`}>{name}</a>} <code>{path}</code>
    </dd>
  );
}

/** The reasons for a verdict; a list where a claim has parts, each of which came out one way. */
export function Reasons({ because }: Pick<Judged, "because">) {
  const parts = because.split(/(?<=\.) (?=(?:Yes|No|Open): )/);
  if (parts.length === 1) return <Prose text={because} />;
  return <ul>{parts.map((part) => <li>{part}</li>)}</ul>;
}

/** The verdict in bold, which says so where a quick run is behind it. */
export const Verdict = ({ verdict, quick }: Judged) => (
  <>
    <strong>{verdict}</strong>
    {quick && ", by a quick run"}
  </>
);

export const CLAIM_COLUMNS: PageColumn<Judged>[] = [
  { heading: "claim", cell: ({ id }) => <a href={`#claim-${id}`}>{id}</a>, left: true },
  { heading: "what it says", cell: ({ claim }) => claim.en, left: true },
  { heading: "verdict", cell: (row) => <Verdict {...row} />, left: true },
  { heading: "figure\n[its interval]", cell: figureOf },
];

/** One claim, folded: its text in both languages, the verdict and its reasons, the rule with a sceptic's word on it, and the commands that repeat it. */
export function OneClaim({ row, servers }: { row: Judged; servers: ReadonlySet<string> }) {
  const { id, claim, section, tried, rule, sceptic, because, results, hosts, commands, figure } = row;
  return (
    <li id={`claim-${id}`} class="claim">
      <details>
        <summary>
          <h4>
            {id}: <Verdict {...row} />
            {figure !== null && `, ${figureOf(row)}`}
          </h4>
        </summary>
        <blockquote>
          <p>{claim.en}</p>
          <p lang="ko">{claim.ko}</p>
          <p class="where">{section}</p>
        </blockquote>
        <dl>
          <dt>Because</dt>
          <dd>
            <Reasons because={because} />
          </dd>
          <dt>The rule</dt>
          <dd>
            <Prose text={rule} />
          </dd>
          <dt>What a sceptic says of it</dt>
          <dd>
            <Prose text={sceptic} />
          </dd>
          <dt>How it is tested</dt>
          <dd>
            <Prose text={tried} />
          </dd>
          {results.length > 0 && <dt>The figures</dt>}
          {results.map((path) => <FileOf path={path} servers={servers} />)}
          {hosts.length > 0 && <dt>Measured on</dt>}
          {hosts.map((text) => <dd>{text}</dd>)}
          {commands.length > 0 && <dt>{results.length > 0 ? "Repeat it" : "What measures it"}</dt>}
          {commands.map((text) => (
            <dd>
              <Command text={text} />
            </dd>
          ))}
        </dl>
      </details>
    </li>
  );
}

export const Verdicts = (
  { claims: { time, host, rows }, servers }: { claims: ClaimsFile; servers: ReadonlySet<string> },
) => (
  <>
    <p class="prose">
      {tally(rows)} Judged at <time dateTime={time}>{time.slice(0, 16).replace("T", " ")} UTC</time>{" "}
      by the figures of one machine: {host.cpu}, {count(host.cores)} cores, {bytes(host.memory_bytes)}, {host.os}{" "}
      {host.kernel}.
    </p>
    <DataTable caption="Claims and their verdicts" rows={rows} columns={CLAIM_COLUMNS} name={({ id }) => id} />
    <h3>Each claim, and how it was judged</h3>
    <ol class="claims">{rows.map((row) => <OneClaim row={row} servers={servers} />)}</ol>
  </>
);

/** The section on claims. */
export function Claims(contents: ReportContents) {
  const { claims, shown } = contents;
  const servers = new Set(shown.map(({ experiment }) => experiment.name));
  return (
    <section id="claims" aria-labelledby="claims-heading">
      <h2 id="claims-heading">Claims, tested</h2>
      <p class="prose">
        Two Korean texts on the C10K problem make claims that can be measured:{" "}
        {TEXTS.map(({ letter, title, what }, i) => (
          <>
            {i > 0 && "; "}
            <strong>{letter}</strong> is “<span lang="ko">{title}</span>”, {what}
          </>
        ))}. Each claim has a rule, and the figures in results/ decide each part of it: <i>yes</i>, <i>no</i>, or{" "}
        <i>open</i>{" "}
        where an interval includes the threshold. Intervals are in brackets; a figure without one is a count, or comes
        from a single run, for which the rule has a margin.
      </p>
      {claims === null
        ? (
          <Unmeasured
            contents={contents}
            section="claims"
            what="No verdicts are stored"
            has={({ claims }) => claims !== null}
          >
            No verdicts are stored: <Command text="deno task claims" /> makes them.
          </Unmeasured>
        )
        : <Verdicts claims={claims} servers={servers} />}
    </section>
  );
}
