/**
 * A sweep as text: a table of rates, and one sentence for each server.
 *
 * @module
 */
import type { SweepRow } from "../../lib/results/rows.ts";
import { count, microseconds, MISSING } from "../../lib/text/format.ts";
import { type Column, table } from "../../lib/text/table.ts";
import { bracket, capacity, keepsUp, knee, meets, type Slo } from "./capacity.ts";

const share = (value: number | null) => value === null ? MISSING : `${count(100 * value)} %`;

const columns = (slo: Slo | null): Column<SweepRow>[] => [
  { heading: "server", cell: (of) => of.server, left: true },
  { heading: "round", cell: (of) => of.round === 0 ? "ladder" : String(of.round), left: true },
  { heading: "asked\n/s", cell: (of) => count(of.rate_per_s), isKey: true },
  { heading: "answered\n/s", cell: (of) => count(of.answered_per_s) },
  { heading: "p50", cell: (of) => microseconds(of.p50_us) },
  { heading: "p99", cell: (of) => microseconds(of.p99_us) },
  { heading: "p99.9", cell: (of) => microseconds(of.p99_9_us) },
  { heading: "server\ncore", cell: (of) => share(of.server_core_share) },
  slo === null
    ? { heading: "keeps up", cell: (of) => keepsUp(of) ? "yes" : "no", left: true }
    : { heading: slo.text, cell: (of) => meets(of, slo) ? "yes" : "no", left: true },
];

const ofKnee = (server: string, ladder: readonly SweepRow[]): string => {
  const at = knee(ladder);
  if (at === null) return `${server} saturates below ${count(ladder[0]?.rate_per_s)} requests/s, the lowest rate.`;
  const highest = Math.max(...ladder.map(({ rate_per_s }) => rate_per_s));
  if (at === highest) return `${server}: no knee up to ${count(at)} requests/s, where the ladder ends.`;
  const { failed } = bracket(ladder, keepsUp);
  const end = failed === null ? "no rate of the ladder saturates it" : `it saturates at ${count(failed)}/s`;
  return `${server}: the knee is at ${count(at)} requests/s; ${end}.`;
};

/** The sentence for the capacity of a server. */
function ofCapacity(server: string, rows: readonly SweepRow[], slo: Slo): string {
  const { met, failed } = bracket(rows.filter(({ round }) => round === 0), (of) => meets(of, slo));
  if (met === null) return `${server}: not even ${count(failed)} requests/s meet ${slo.text}.`;
  if (failed === null) return `${server}: at least ${count(met)} requests/s meet ${slo.text}; the ladder ends there.`;
  const { interval, rounds } = capacity(rows, slo);
  if (interval === null) return `${server}: ${count(met)} requests/s meet ${slo.text}, ${count(failed)} do not.`;
  const { estimate, low, high } = interval;
  const bounds = low === null || high === null
    ? `no interval from ${rounds} rounds`
    : `98 % interval ${count(low)} to ${count(high)}, ${rounds} rounds`;
  return `${server}: the capacity at ${slo.text} is ${count(estimate)} requests/s (${bounds}).`;
}

/** The table, and the answers: the last line is that of the last server. */
export function describe(rows: readonly SweepRow[], slo: Slo | null, width: number) {
  if (rows.length === 0) return { table: "No rate was measured.", sentences: [] };
  const sentences = [...Map.groupBy(rows, ({ server }) => server)].flatMap(([server, own]) => {
    const weak = [...new Set(own.flatMap(({ findings }) => findings.map(({ id }) => id)))];
    const bound = own.some(({ findings }) => findings.some(({ id }) => id === "client_bound" || id === "late_sends"));
    return [
      ...(weak.length > 0 ? [`${server}: caveats at some rates: ${weak.join(", ")}.`] : []),
      ...(bound ? [`${server}: the load was late or at its limit, so that rates are lower bounds.`] : []),
      ofKnee(server, own.filter(({ round }) => round === 0)),
      ...(slo === null ? [] : [ofCapacity(server, own, slo)]),
    ];
  });
  return { table: table(rows, columns(slo), width), sentences };
}
