/**
 * The ladder: the architectures of this project in reading order, each with one figure.
 *
 * @module
 */
// deno-lint-ignore-file jsx-key -- rendered once, to text: there is nothing that would have to be found again
/** @jsxRuntime automatic */
/** @jsxImportSource preact */
import { count, MISSING } from "../../../lib/text/format.ts";
import { ladderFigure } from "../figures.ts";
import type { ReportContents } from "../contents.ts";
import { heldText, type Stored, whyMissing } from "../servers.ts";
import { ChartFigure, Family, Prose } from "./parts.tsx";
import type { Shown } from "../../../lib/results/choose.ts";

const FAMILIES: Record<string, string> = {
  blocking:
    "A process or a thread waits inside each call. The code is the simplest of all; the cost is a process or thread per connection.",
  runtime: "The runtime keeps an event loop and hides it behind async and await.",
  readiness: "One thread asks the kernel which descriptors are ready, then reads and writes without waiting.",
  completion: "One thread submits whole operations to the kernel and reads their completions.",
  hybrid: "Event loops for connections, and more threads for what one loop cannot do.",
  bypass: "The server bypasses the kernel's network stack.",
  push: "WebSocket: a message from one client goes to all.",
};

function Rung({ row, stored }: { row: Shown; stored: Stored }) {
  const { experiment: { name, title, idea }, hold, throughput } = row;
  const cost = throughput?.metrics.cpu_us_per_request;
  return (
    <li class="rung">
      <div class="what">
        <h4>
          <a href={`#${name}`}>{name}</a>
        </h4>
        <p class="title">
          <Prose text={title.replace(`${name}: `, "")} />
        </p>
        <p class="idea">
          <Prose text={idea} />
        </p>
      </div>
      {hold === undefined && throughput === undefined
        ? <p class="none">{whyMissing(row, stored)}</p>
        : (
          <dl class="figures">
            <div>
              <dt>held and answered</dt>
              <dd>{heldText(row)}</dd>
            </div>
            <div>
              <dt>
                CPU-µs per request{throughput && (
                  <>
                    , {count(throughput.parameters.connections)}{" "}
                    {throughput.parameters.connections === 1 ? "connection" : "connections"}
                  </>
                )}
              </dt>
              <dd>{cost === null || cost === undefined ? MISSING : count(cost, 2)}</dd>
            </div>
          </dl>
        )}
    </li>
  );
}

/** The section. */
export function Ladder(contents: ReportContents) {
  const own = contents.shown.filter(({ experiment }) => !experiment.peer);
  const starts = own.findIndex.bind(own);
  return (
    <section id="ladder" aria-labelledby="ladder-heading">
      <h2 id="ladder-heading">The ladder of architectures</h2>
      <p class="prose">
        {count(own.length)} files, one architecture each, in reading order. <em>Held and answered</em>{" "}
        counts connections that were open at the same time and all got an answer; CPU-µs per request is CPU time of the
        server, not elapsed time.
      </p>
      {[...Map.groupBy(own, ({ experiment }) => experiment.family)].map(([family, rows]) => (
        <div class="steps">
          <h3>
            <Family name={family} />
          </h3>
          {FAMILIES[family] && <p class="prose">{FAMILIES[family]}</p>}
          <ol start={starts((row) => row === rows[0]) + 1}>
            {rows.map((row) => <Rung row={row} stored={contents} />)}
          </ol>
        </div>
      ))}
      <ChartFigure figure={ladderFigure(own, contents)} />
    </section>
  );
}
