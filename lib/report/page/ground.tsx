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

function RunsWith({ id, results }: { id: string; results: Material["results"] }) {
  const runs = results.filter(({ findings }) => findings.some((of) => of.id === id));
  if (runs.length === 0) return <>none</>;
  return (
    <details>
      <summary>{count(runs.length)} of {count(results.length)}</summary>
      <ul>
        {[...Map.groupBy(runs, ({ experiment }) => experiment)].map(([name, of]) => (
          <li>
            <a href={`#${name}`}>{name}</a>: {[...new Set(of.map(label))].join("; ")}
          </li>
        ))}
      </ul>
    </details>
  );
}

/** The section on findings. */
export function Findings({ results, meanings }: Material) {
  const columns: PageColumn<string>[] = [
    { heading: "finding", cell: (id) => <code id={`finding-${id}`}>{id}</code>, left: true },
    { heading: "what was seen", cell: (id) => <Prose text={meanings.get(id) ?? ""} />, left: true },
    { heading: "runs that have it", cell: (id) => <RunsWith id={id} results={results} />, left: true },
  ];
  return (
    <section id="findings" aria-labelledby="findings-heading">
      <h2 id="findings-heading">What weakens figures</h2>
      <p class="prose">
        Each run is judged by its own figures. A finding makes none of them wrong; it says what a figure may no longer
        be taken for.
      </p>
      <DataTable caption="Findings, and the runs that have them" rows={[...FINDING_IDS]} columns={columns} />
    </section>
  );
}

/** A figure of a claim with its interval and its unit. */
function claimFigure({ figure, low, high, unit }: Judged): string {
  const write = (value: number) =>
    unit === "bytes"
      ? bytes(value)
      : `${count(value, Number.isInteger(value) || value >= 100 ? 0 : 2)} ${unit ?? ""}`.trim();
  if (figure === null) return MISSING;
  return low === null || high === null || low === high
    ? write(figure)
    : `${write(figure)} [${write(low)}, ${write(high)}]`;
}

const CLAIM_COLUMNS: PageColumn<Judged>[] = [
  { heading: "claim", cell: ({ id }) => id, left: true },
  {
    heading: "what it says",
    cell: ({ claim }) => (
      <span class="claim">
        {claim.en} <span lang="ko">{claim.ko}</span>
      </span>
    ),
    left: true,
  },
  { heading: "where", cell: ({ section }) => section, left: true },
  { heading: "verdict", cell: ({ verdict }) => <b>{verdict}</b>, left: true },
  { heading: "figure", cell: claimFigure },
  { heading: "because", cell: ({ because }) => <span class="reason">{because}</span>, left: true },
  { heading: "repeat it", cell: ({ commands }) => commands.map((text) => <Command text={text} />), left: true },
];

/** The section on claims. */
export function Claims({ claims }: Material) {
  return (
    <section id="claims" aria-labelledby="claims-heading">
      <h2 id="claims-heading">Claims, tried</h2>
      <p class="prose">
        Texts on the C10K problem say much that can be measured. Each such claim has a rule, and the figures in results/
        decide.
      </p>
      {claims === null
        ? (
          <p>
            No verdicts are stored: <Command text="deno task claims" /> makes them.
          </p>
        )
        : <DataTable caption="Claims and their verdicts" rows={claims.rows} columns={CLAIM_COLUMNS} />}
    </section>
  );
}
