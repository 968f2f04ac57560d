/**
 * All servers side by side: one table that can be filtered and sorted, the charts, and the comparisons in full.
 *
 * @module
 */
// deno-lint-ignore-file jsx-key -- rendered once, to text: there is nothing that would have to be found again
/** @jsxRuntime automatic */
/** @jsxImportSource preact */
import { comparingFigures } from "../figures.ts";
import type { ReportContents } from "../contents.ts";
import { kindOf, nameOf, type ServerColumn, serverColumns } from "../servers.ts";
import { ChartFigure, Command, DataTable, Family, Scroll, Unmeasured } from "./parts.tsx";
import { comparisonParts } from "../../../lib/tables/comparison.ts";
import { SWEEP } from "../../../lib/results/conventions.ts";
import { sloOf } from "../../../lib/results/capacity.ts";
import { capacityColumns, pointColumns, sweptOf } from "../../../lib/tables/sweep.ts";
import { disturbedCalls, readinessColumns } from "../../../lib/tables/studies.ts";

const KINDS: Record<string, string> = { ours: "this project", peer: "peers", own: "your own" };

/** Choices that the script acts on: without it they are not there. */
function Filter({ families, kinds }: { families: string[]; kinds: string[] }) {
  const box = (name: string, value: string) => (
    <label class="choice">
      <input type="checkbox" name={name} value={value} checked />
      {name === "family" ? <Family name={value} /> : KINDS[value]}
    </label>
  );
  return (
    <form id="filter" class="filter needs-script" role="search" aria-label="Filter of the servers">
      <label class="search">
        <span>Find</span>
        <input type="search" name="text" placeholder="name, or what stopped it" autocomplete="off" />
      </label>
      <fieldset>
        <legend>Family</legend>
        {families.map((name) => box("family", name))}
      </fieldset>
      <fieldset>
        <legend>Whose</legend>
        {kinds.map((name) => box("kind", name))}
      </fieldset>
      <p class="found">
        <output id="found" aria-live="polite"></output>
      </p>
    </form>
  );
}

/** Buttons that the script acts on. */
export const Downloads = ({ of, what }: { of: string; what: string }) => (
  <p class="downloads needs-script">
    <span>{what}:</span>{" "}
    {["csv", "json"].map((format) => (
      <button type="button" data-download={of} data-format={format} aria-label={`${what} as ${format.toUpperCase()}`}>
        {format.toUpperCase()}
      </button>
    ))}
  </p>
);

const classOf = (...names: (string | false | undefined)[]): string | undefined =>
  names.filter((name) => name).join(" ") || undefined;

/** Without it the table has only the columns that are asked for most. It needs no script. */
const AllColumns = ({ columns }: { columns: readonly ServerColumn[] }) => (
  <label class="choice">
    <input type="checkbox" id="all-columns" autocomplete="off" />
    All {columns.length} columns: further ratios, connections under load, family, what stopped it
  </label>
);

function ServerTable({ shown, columns }: { shown: ReportContents["shown"]; columns: ServerColumn[] }) {
  const caption = "Every server: its newest whole runs, and its ratios in the widest comparisons";
  return (
    <Scroll label={caption}>
      <table id="servers">
        <caption>
          <span>{caption}</span>
        </caption>
        <thead>
          <tr>
            {columns.map(({ key, heading, left, isMore }) => (
              <th scope="col" data-key={key} class={classOf(left && "left", isMore && "more")}>{heading}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => {
            const { name, family } = row.experiment;
            const kind = kindOf(row.experiment);
            return (
              <tr data-name={name} data-family={family} data-kind={kind}>
                {columns.map(({ key, cell, value, left, isMore }) => {
                  const styled = classOf(key, left && "left", isMore && "more");
                  const attributes = { "data-value": value(row) ?? "", class: styled };
                  if (key === "name") {
                    return (
                      <th scope="row" {...attributes}>
                        {kind === "own" ? name : <a href={`#${name}`}>{name}</a>}
                      </th>
                    );
                  }
                  return <td {...attributes}>{key === "family" ? <Family name={family} /> : cell(row)}</td>;
                })}
              </tr>
            );
          })}
        </tbody>
      </table>
    </Scroll>
  );
}

/** What the signs in tables mean. */
const Legend = () => (
  <ul class="legend">
    <li>
      <b>≥</b> a lower bound: the load generator was the limit, or the run did not ask for more
    </li>
    <li>
      <b>≤</b>{" "}
      an upper bound: part of the latency may come from the load generator or another process; the memory is within
      noise
    </li>
    <li>
      <b>–</b> not measured: never a zero
    </li>
    <li>
      <b>[a, b]</b> the 98 % interval of a ratio
    </li>
  </ul>
);

/** The capacities of servers, of a sweep. */
function Capacities(
  { sweep: { rows, command } }: { sweep: NonNullable<ReportContents["sweep"]> },
) {
  const slo = sloOf(rows);
  const ladder = rows.filter(({ round }) => round === 0);
  return (
    <details class="full">
      <summary>Latency against load: all figures</summary>
      {slo !== null && (
        <DataTable
          caption={`The highest rate that meets ${slo.text}`}
          rows={sweptOf(rows, slo)}
          columns={capacityColumns(slo)}
        />
      )}
      <DataTable
        caption="Latency at each rate of the ladders"
        rows={ladder}
        columns={pointColumns(slo)}
      />
      <p class="repeat">
        Repeat it: <Command text={command} />
      </p>
    </details>
  );
}

/** The stored comparisons in full. */
const Tables = ({ comparisons, readiness }: ReportContents) => (
  <>
    {comparisons.map((table) => {
      const { heading, groups, columns, notes } = comparisonParts(table.rows);
      return (
        <details class="full">
          <summary>{nameOf(table)}: all figures</summary>
          <DataTable
            caption={heading.replace(/:$/, "")}
            rows={groups}
            columns={columns.map((of) => of.heading === "" ? { ...of, heading: "server" } : of)}
          />
          {notes.length > 0 && <ul class="notes">{notes.map((note) => <li>{note}</li>)}</ul>}
          <p class="repeat">
            Repeat it: <Command text={table.study.command} />
          </p>
        </details>
      );
    })}
    {readiness && (
      <details class="full">
        <summary>What one wait call costs: all figures</summary>
        <DataTable
          caption="CPU time of one call that waits for events"
          rows={readiness.rows}
          columns={readinessColumns(readiness.rows)}
        />
        {disturbedCalls(readiness.rows) && <p>{disturbedCalls(readiness.rows)}</p>}
        <p class="repeat">
          Repeat it: <Command text={readiness.command} />
        </p>
      </details>
    )}
  </>
);

/** What is missing of the comparisons, of wait calls and of latency against load. */
const Missing = (contents: ReportContents) => (
  <>
    {contents.comparisons.length === 0 && (
      <Unmeasured
        contents={contents}
        section="comparison"
        what="No comparison of enough rounds is stored"
        has={({ comparisons }) => comparisons.length > 0}
      >
        No comparison of enough rounds is stored: <Command text="deno task compare" /> makes one.
      </Unmeasured>
    )}
    {contents.readiness === undefined && (
      <Unmeasured
        contents={contents}
        section="comparison"
        what="What one wait call costs is not measured"
        has={({ readiness }) => readiness !== undefined}
      >
        What one wait call costs is not measured yet: <Command text="deno task readiness" />
      </Unmeasured>
    )}
    {contents.sweep === undefined && (
      <Unmeasured
        contents={contents}
        section="comparison"
        what="Latency against load is not measured"
        has={({ sweep }) => sweep !== undefined}
      >
        Latency against load is not measured yet: <Command text={SWEEP.command} />
      </Unmeasured>
    )}
  </>
);

/** The section. */
export function Comparing(contents: ReportContents) {
  const all = [...contents.shown, ...contents.own];
  const columns = serverColumns(contents);
  const families = [...new Set(all.map(({ experiment }) => experiment.family))];
  const kinds = [...new Set(all.map(({ experiment }) => kindOf(experiment)))];
  return (
    <section id="comparison" aria-labelledby="comparison-heading">
      <h2 id="comparison-heading">Side by side</h2>
      <p class="prose">
        Single runs were made at different times on a shared machine: they show orders of magnitude. For small
        differences read the ratios: both servers ran in turn, in random order, in each round.
      </p>
      <Filter families={families} kinds={kinds} />
      <AllColumns columns={columns} />
      <ServerTable shown={all} columns={columns} />
      <Legend />
      <Downloads of="servers" what="The servers shown above" />
      <h3>Charts</h3>
      <div class="charts">{comparingFigures(contents).map((figure) => <ChartFigure figure={figure} />)}</div>
      <h3>The comparisons in full</h3>
      <Tables {...contents} />
      {contents.sweep && <Capacities sweep={contents.sweep} />}
      <Missing {...contents} />
      <Downloads of="comparisons" what="All rows of these comparisons" />
    </section>
  );
}
