/**
 * What every section is built of.
 *
 * @module
 */
// deno-lint-ignore-file jsx-key -- rendered once, to text: there is nothing that would have to be found again
/** @jsxRuntime automatic */
/** @jsxImportSource preact */
import type { ComponentChildren } from "preact";
import { describeChart, folded, heightOf, isEmpty, sentence } from "../../../lib/charts/config.ts";
import { written } from "../../../lib/charts/theme.ts";
import { MISSING } from "../../../lib/text/format.ts";
import { machinesWith, type ReportContents } from "../contents.ts";
import type { Figure } from "../figures.ts";

/** A column whose cells may be more than text. */
export interface PageColumn<Row> {
  heading: string;
  cell: (row: Row) => ComponentChildren;
  left?: boolean;
}

/** A text in which backticks set off code, as in headers and documents. */
export const Prose = ({ text }: { text: string }) => (
  <>{text.split("`").map((part, i) => i % 2 === 0 ? part : <code>{part}</code>)}</>
);

/** A command line. */
export const Command = ({ text }: { text: string }) => <code class="command">{text}</code>;

/** A family by name, with its colour. */
export const Family = ({ name }: { name: string }) => (
  <span class="family">
    <span class="dot" style={`--dot:var(--${name})`} aria-hidden="true"></span>
    {name}
  </span>
);

/** A box that scrolls by itself, so that the page does not. */
export const Scroll = ({ label, children }: { label: string; children: ComponentChildren }) => (
  <div class="scroll" role="group" aria-label={label} tabIndex={0}>{children}</div>
);

/** A link to a section of the page with the figures of another machine. */
export const MachineLink = ({ machine, section }: { machine: string; section: string }) => (
  <a href={`?machine=${encodeURIComponent(machine)}#${section}`}>{machine}</a>
);

interface UnmeasuredProps {
  contents: ReportContents;
  /** Where it would stand. */
  section: string;
  /** What is missing, as the subject of a sentence. */
  what: string;
  has: (of: ReportContents) => boolean;
  /** How it is measured. */
  children: ComponentChildren;
}

/** What stands where this machine has no figures: which other one has them, else how they are measured. */
export function Unmeasured({ contents, section, what, has, children }: UnmeasuredProps) {
  const machines = machinesWith(contents, has);
  if (machines.length === 0) return <p>{children}</p>;
  return (
    <p>
      {what} on this machine, but on {machines.map((machine, i) => (
        <>
          {i > 0 && ", "}
          <MachineLink machine={machine} section={section} />
        </>
      ))}: follow the link, or choose it at the top.
    </p>
  );
}

interface TableProps<Row> {
  caption: string;
  rows: readonly Row[];
  columns: readonly PageColumn<Row>[];
  /** What a script can find a row by. */
  name?: (row: Row) => string;
}

/** A table: its first column names the rows. */
export function DataTable<Row>({ caption, rows, columns, name }: TableProps<Row>) {
  return (
    <Scroll label={caption}>
      <table>
        <caption>
          <span>{caption}</span>
        </caption>
        <thead>
          <tr>
            {columns.map(({ heading, left }) => <th scope="col" class={left ? "left" : undefined}>{heading}</th>)}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr data-name={name?.(row)}>
              {columns.map(({ cell, left }, i) =>
                i === 0
                  ? <th scope="row" class={left ? "left" : undefined}>{cell(row)}</th>
                  : <td class={left ? "left" : undefined}>{cell(row)}</td>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** The figures of a chart as rows of text: for readers who cannot see it, or have no script. */
function rowsOf({ spec, repeat }: Figure): { name: string; x: string; value: string; command: string }[] {
  const command = (name: string) => typeof repeat === "string" ? "" : repeat.get(name) ?? MISSING;
  return spec.kind === "lines"
    ? spec.series.flatMap(({ name, points, note }) =>
      points.length === 0 ? [{ name, x: "", value: note ?? MISSING, command: command(name) }] : points.map((point) => ({
        name,
        x: written(point.x, spec.x.unit),
        value: sentence(point, spec.y.unit),
        command: command(name),
      }))
    )
    : spec.items.map((item) => ({
      name: item.name,
      x: "",
      value: sentence(item, spec.axis.unit),
      command: command(item.name),
    }));
}

/** A chart: drawn by the script, described in words, with its figures as a table and the command that repeats it. */
export function ChartFigure({ figure }: { figure: Figure }) {
  const { id, spec, note, repeat, ofServers } = figure;
  const { spec: drawn, without } = folded(spec);
  const columns: PageColumn<ReturnType<typeof rowsOf>[number]>[] = [
    { heading: spec.kind === "lines" ? "line" : "server", cell: ({ name }) => name, left: true },
    ...(spec.kind === "lines" ? [{ heading: spec.x.label, cell: ({ x }: { x: string }) => x }] : []),
    { heading: spec.kind === "lines" ? spec.y.label : spec.axis.label, cell: ({ value }) => value },
    ...(typeof repeat === "string"
      ? []
      : [{ heading: "repeat it", cell: (row: { command: string }) => <Command text={row.command} />, left: true }]),
  ];
  return (
    <figure class="chart" id={`chart-${id}`}>
      {!isEmpty(drawn) && (
        <div class="plot" style={`height:${heightOf(drawn)}px`}>
          <canvas role="img" aria-label={describeChart(spec)} data-chart={id} data-of-servers={ofServers}></canvas>
        </div>
      )}
      <figcaption>
        {isEmpty(drawn) ? <p>{spec.title}</p> : note && <p>{note}</p>}
        <p class="without" hidden={without === null}>{without}</p>
        {typeof repeat === "string" && (
          <p class="repeat">
            Repeat it: <Command text={repeat} />
          </p>
        )}
        <details>
          <summary>The figures of this chart{typeof repeat === "string" ? "" : ", and the command of each"}</summary>
          <DataTable caption={spec.title} rows={rowsOf(figure)} columns={columns} name={({ name }) => name} />
        </details>
      </figcaption>
    </figure>
  );
}
