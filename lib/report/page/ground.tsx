/**
 * What figures stand on: the machines, what weakens runs, and the verdicts on claims.
 *
 * @module
 */
// deno-lint-ignore-file jsx-key -- rendered once, to text: there is nothing that would have to be found again
/** @jsxRuntime automatic */
/** @jsxImportSource preact */
import { FINDING_IDS } from "../../findings.ts";
import { bytes, count, MISSING } from "../../format.ts";
import type { HostFacts } from "../../host.ts";
import { label } from "../../summary.ts";
import type { Judged } from "../../claims/ledger.ts";
import { type ClaimsFile, figureOf, tally } from "../../claims/table.ts";
import { hostsOf, type Material } from "../material.ts";
import { Command, DataTable, type PageColumn, Prose } from "./parts.tsx";

/** All facts of a host under the names that results/README.md explains. */
function facts({ limits, sysctls, ...rest }: HostFacts): Map<string, string> {
  const all = Object.entries({ ...rest, ...limits, ...sysctls });
  return new Map(all.map(([name, value]) => [
    name,
    value === null
      ? name.startsWith("n") && rest.os === "linux" && name in limits ? "unlimited" : MISSING
      : name === "memory_bytes"
      ? bytes(value as number)
      : typeof value === "number"
      ? count(value)
      : Array.isArray(value)
      ? value.map((number) => count(number)).join(", ")
      : value,
  ]));
}

/** The section on machines. */
export function Machines({ results, meanings }: Material) {
  const hosts = hostsOf(results).map(({ host, runs }) => ({ facts: facts(host), runs: runs.length }));
  const names = [...new Set(hosts.flatMap((of) => [...of.facts.keys()]))];
  const columns: PageColumn<string>[] = [
    { heading: "fact", cell: (name) => <code>{name}</code>, left: true },
    ...hosts.map((of, i) => ({
      heading: hosts.length === 1 ? "the machine" : `machine ${i + 1}: ${count(of.runs)} runs`,
      cell: (name: string) => of.facts.get(name) ?? MISSING,
      left: true,
    })),
    { heading: "what it says", cell: (name) => <Prose text={meanings.get(name) ?? ""} />, left: true },
  ];
  return (
    <section id="machine" aria-labelledby="machine-heading">
      <h2 id="machine-heading">The machine</h2>
      <p class="prose">
        Server and load generator ran on one machine, over its loopback interface, each pinned to a core of its own
        where there are two: no network card, no loss, no distance. What is compared is what an architecture costs.
      </p>
      {hosts.length === 0
        ? <p>Nothing is measured yet.</p>
        : <DataTable caption="Facts of the host, from the results" rows={names} columns={columns} />}
    </section>
  );
}

/** How many rows of the comparisons bear a finding, of one of the two that they compare. */
function RowsWith({ id, comparisons }: { id: string; comparisons: Material["comparisons"] }) {
  const rows = comparisons.flatMap((table) => table.rows);
  const found = rows.filter(({ findings }) => findings.some((of) => of.endsWith(`: ${id}`)));
  return <>{found.length === 0 ? "none" : `${count(found.length)} of ${count(rows.length)}`}</>;
}

function RunsWith({ id, results, known }: { id: string; results: Material["results"]; known: ReadonlySet<string> }) {
  const runs = results.filter(({ findings }) => findings.some((of) => of.id === id));
  if (runs.length === 0) return <>none</>;
  return (
    <details>
      <summary>{count(runs.length)} of {count(results.length)}</summary>
      <ul>
        {[...Map.groupBy(runs, ({ experiment }) => experiment)].map(([name, of]) => (
          <li>
            {known.has(name) ? <a href={`#${name}`}>{name}</a> : name}: {[...new Set(of.map(label))].join("; ")}
          </li>
        ))}
      </ul>
    </details>
  );
}

/** The section on findings. */
export function Findings({ shown, results, comparisons, meanings }: Material) {
  const known = new Set(shown.map(({ experiment }) => experiment.name));
  const columns: PageColumn<string>[] = [
    { heading: "finding", cell: (id) => <code id={`finding-${id}`}>{id}</code>, left: true },
    { heading: "what was seen", cell: (id) => <Prose text={meanings.get(id) ?? ""} />, left: true },
    { heading: "runs that have it", cell: (id) => <RunsWith id={id} results={results} known={known} />, left: true },
    { heading: "rows of the comparisons shown", cell: (id) => <RowsWith id={id} comparisons={comparisons} /> },
  ];
  return (
    <section id="findings" aria-labelledby="findings-heading">
      <h2 id="findings-heading">What weakens figures</h2>
      <p class="prose">
        Each run is judged by its own figures; a row of a comparison bears what was found in more than half of its
        rounds. A finding makes none of them wrong; it says what a figure may no longer be taken for.
      </p>
      <DataTable caption="Findings, and the runs and rows that have them" rows={[...FINDING_IDS]} columns={columns} />
    </section>
  );
}

/** A file of figures, with a link to the server of which it is, where this page has it. */
function FileOf({ path, servers }: { path: string; servers: ReadonlySet<string> }) {
  const name = path.split("/")[1] ?? "";
  return (
    <dd>
      {servers.has(name) && <a href={`#${name}`}>{name}</a>} <code>{path}</code>
    </dd>
  );
}

/** The reasons for a verdict; a list where a claim has parts, each of which came out one way. */
function Reasons({ because }: Pick<Judged, "because">) {
  const parts = because.split(/(?<=\.) (?=(?:Yes|No|Open): )/);
  if (parts.length === 1) return <Prose text={because} />;
  return <ul>{parts.map((part) => <li>{part}</li>)}</ul>;
}

/** The verdict in bold, which says so where a quick run is behind it. */
const Verdict = ({ verdict, quick }: Judged) => (
  <>
    <strong>{verdict}</strong>
    {quick && ", by a quick run"}
  </>
);

const CLAIM_COLUMNS: PageColumn<Judged>[] = [
  { heading: "claim", cell: ({ id }) => <a href={`#claim-${id}`}>{id}</a>, left: true },
  { heading: "what it says", cell: ({ claim }) => claim.en, left: true },
  { heading: "verdict", cell: (row) => <Verdict {...row} />, left: true },
  { heading: "figure\n[its interval]", cell: figureOf },
];

/** One claim: in both languages, what became of it and why, how it was judged, and the commands that repeat it. */
function OneClaim({ row, servers }: { row: Judged; servers: ReadonlySet<string> }) {
  const { id, claim, section, tried, rule, because, results, hosts, commands, figure } = row;
  return (
    <li id={`claim-${id}`} class="claim">
      <h4>
        {id}: <Verdict {...row} />
        {figure !== null && `, ${figureOf(row)}`}
      </h4>
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
        <dt>How it is tried</dt>
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
    </li>
  );
}

const Verdicts = ({ claims: { time, host, rows }, servers }: { claims: ClaimsFile; servers: ReadonlySet<string> }) => (
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
export function Claims({ claims, shown }: Material) {
  const servers = new Set(shown.map(({ experiment }) => experiment.name));
  return (
    <section id="claims" aria-labelledby="claims-heading">
      <h2 id="claims-heading">Claims, tried</h2>
      <p class="prose">
        Two texts on the C10K problem, T and C, say much that can be measured. Each such claim has a rule, and the
        figures in results/ decide: <i>yes</i> or <i>no</i> for each part of it, or{" "}
        <i>open</i>, where an interval lies on both sides of a threshold. An interval stands in brackets; a figure
        without one is a count, or of a single run, for which the rule has a margin.
      </p>
      {claims === null
        ? (
          <p>
            No verdicts are stored: <Command text="deno task claims" /> makes them.
          </p>
        )
        : <Verdicts claims={claims} servers={servers} />}
    </section>
  );
}
