/**
 * What breaks each server: the matrix of servers and faults.
 *
 * @module
 */
/** @jsxRuntime automatic */
/** @jsxImportSource preact */
import {
  cellFigures,
  type FaultCell,
  type FaultsOf,
  faultsSentence,
  SOAK_COLUMNS,
} from "../../../lib/tables/faults.ts";
import { count, MISSING } from "../../../lib/text/format.ts";
import type { ReportContents } from "../contents.ts";
import { Command, DataTable, type PageColumn, Prose, Unmeasured } from "./parts.tsx";

/** The figure that a cell shows before it is opened. */
function short({ verdict, p99_ms_during: ms, lost }: FaultCell): string {
  if (verdict === "skipped") return "";
  if (lost > 0) return `${count(lost)} lost`;
  return ms === null ? "" : `${count(ms, 1)} ms`;
}

/** One cell: its verdict, and behind it the figures, the reason and the command. */
export function Cell({ row }: { row: FaultCell | undefined }) {
  if (row === undefined) return <>{MISSING}</>;
  return (
    <details class={`fault ${row.verdict}`}>
      <summary>
        <strong>{row.verdict}</strong> <span>{short(row)}</span>
      </summary>
      {row.reason !== null && (
        <p>
          <Prose text={row.reason} />
        </p>
      )}
      <dl>
        {cellFigures(row).map(([name, value]) => (
          <>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </>
        ))}
      </dl>
      <Command text={row.command} />
    </details>
  );
}

/** What rises under load for long. */
export const Soaks = (contents: ReportContents) => (
  <>
    <h3>Under load for long</h3>
    {contents.soaks.length === 0
      ? (
        <Unmeasured
          contents={contents}
          section="faults"
          what="No server was loaded for long"
          has={({ soaks }) => soaks.length > 0}
        >
          Nothing was soaked yet: <Command text="deno task soak epoll" />{" "}
          loads a server for long, with faults at random.
        </Unmeasured>
      )
      : (
        <DataTable
          caption="What rises under load for long, with faults at random"
          rows={contents.soaks}
          columns={SOAK_COLUMNS}
          name={({ server }) => server}
        />
      )}
  </>
);

/** The section. */
export function Faults(contents: ReportContents) {
  const { faults: matrix, shown } = contents;
  const known = new Set(shown.map(({ experiment }) => experiment.name));
  const columns: PageColumn<FaultsOf>[] = [
    {
      heading: "server",
      cell: ({ server }) => known.has(server) ? <a href={`#${server}`}>{server}</a> : server,
      left: true,
    },
    ...matrix.faults.map((fault): PageColumn<FaultsOf> => ({
      heading: fault,
      cell: ({ cells }) => <Cell row={cells.get(fault)} />,
      left: true,
    })),
  ];
  return (
    <section id="faults" aria-labelledby="faults-heading">
      <h2 id="faults-heading">What breaks it</h2>
      {matrix.servers.length === 0
        ? (
          <Unmeasured
            contents={contents}
            section="faults"
            what="No fault was tried"
            has={({ faults }) => faults.servers.length > 0}
          >
            No fault was tried yet: <Command text="deno task faults --all" /> tries all of them.
          </Unmeasured>
        )
        : (
          <>
            <p class="prose">
              Each cell is one fault at a server that was started for it, with normal clients beside it. It shows the
              verdict and the p99 of the normal clients meanwhile, or the answers that were lost. Open it for its
              figures, the reason and the command.{" "}
              <em>cannot</em>: the architecture does not promise it, and its header says why. {faultsSentence(matrix)}
            </p>
            <DataTable
              caption="Servers under faults"
              rows={matrix.servers}
              columns={columns}
              name={({ server }) => server}
            />
          </>
        )}
      <Soaks {...contents} />
    </section>
  );
}
