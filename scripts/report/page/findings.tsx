/**
 * The findings of the report.
 *
 * @module
 */
/** @jsxRuntime automatic */
/** @jsxImportSource preact */
import type { ReportContents } from "../contents.ts";
import { count } from "../../../lib/text/format.ts";
import { label } from "../../../lib/tables/runs.ts";
import { DataTable, type PageColumn, Prose } from "./parts.tsx";
import { FINDING_IDS } from "../../../lib/results/findings.ts";

/** How many rows of the comparisons have a finding, of one of the two that they compare. */
export function RowsWith({ id, comparisons }: { id: string; comparisons: ReportContents["comparisons"] }) {
  const rows = comparisons.flatMap((table) => table.rows);
  const found = rows.filter(({ findings }) => findings.some((found) => found.id === id));
  return <>{found.length === 0 ? "none" : `${count(found.length)} of ${count(rows.length)}`}</>;
}

export function RunsWith(
  { id, results, known }: { id: string; results: ReportContents["results"]; known: ReadonlySet<string> },
) {
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
export function Findings({ shown, results, comparisons, meanings }: ReportContents) {
  const known = new Set(shown.map(({ experiment }) => experiment.name));
  const columns: PageColumn<string>[] = [
    { heading: "finding", cell: (id) => <code id={`finding-${id}`}>{id}</code>, left: true },
    { heading: "what was seen", cell: (id) => <Prose text={meanings.get(id) ?? ""} />, left: true },
    { heading: "runs with it", cell: (id) => <RunsWith id={id} results={results} known={known} />, left: true },
    { heading: "rows of the comparisons shown", cell: (id) => <RowsWith id={id} comparisons={comparisons} /> },
  ];
  return (
    <section id="findings" aria-labelledby="findings-heading">
      <h2 id="findings-heading">What weakens figures</h2>
      <p class="prose">
        Each run is checked by its own figures; a row of a comparison has the findings of more than half of its rounds.
        A finding does not make a figure wrong; it limits what the figure may be used for.
      </p>
      <DataTable caption="Findings, and the runs and rows that have them" rows={[...FINDING_IDS]} columns={columns} />
    </section>
  );
}
