/**
 * What the nights show: for each experiment its ratio to the reference, and where that changed.
 *
 * @module
 */
// deno-lint-ignore-file jsx-key -- rendered once, to text: there is nothing that would have to be found again
/** @jsxRuntime automatic */
/** @jsxImportSource preact */
import { tellChanges } from "../../../lib/regress/trend.ts";
import { nightFigures } from "../figures.ts";
import type { ReportContents } from "../contents.ts";
import { ChartFigure, Command, Unmeasured } from "./parts.tsx";

/** The section. */
export function Nights(contents: ReportContents) {
  const changes = tellChanges(contents.trends);
  return (
    <section id="nights" aria-labelledby="nights-heading">
      <h2 id="nights-heading">Night by night</h2>
      {contents.trends.length === 0
        ? (
          <Unmeasured
            contents={contents}
            section="nights"
            what="No night is stored"
            has={({ trends }) => trends.length > 0}
          >
            There is no history yet: <Command text="deno task regress" /> adds a night to it.
          </Unmeasured>
        )
        : (
          <>
            <p class="prose">
              Each night every experiment is compared with a reference. Several nights together show changes that are
              too small for one night: {changes.length === 0 ? "nothing changed." : "these changed."}
            </p>
            {changes.length > 0 && <ul class="notes">{changes.map((line) => <li>{line}</li>)}</ul>}
            <div class="charts">{nightFigures(contents).map((figure) => <ChartFigure figure={figure} />)}</div>
          </>
        )}
    </section>
  );
}
