/**
 * How a run of c10m is shown and stored.
 *
 * @module
 */
import { count } from "../../lib/text/format.ts";
import { CROWD, crowdVariant } from "../../lib/results/conventions.ts";
import type { ProbeRow } from "../../lib/results/rows.ts";
import { ASKS, type Outcome } from "./measure.ts";

/** The rows of a study: one for each figure. */
export function rowsOf(outcome: Outcome): ProbeRow[] {
  const variant = crowdVariant(outcome.connections);
  const note =
    `xdp, ${outcome.mode} mode, over veth; its clients on another core; the kernel's work on a frame on the core of its sender`;
  const row = (metric: string, value: number): ProbeRow => ({
    ...{ probe: CROWD.probe, variant, metric, value, low: null, high: null, runs: 1, note },
  });
  return [
    ...outcome.phases.flatMap(({ name, seconds, serverCpuUs, clientCpuUs }) => {
      const phase = name.replaceAll(" ", "_");
      return [
        row(`${phase}_seconds`, seconds),
        row(`${phase}_server_cpu_us_per_connection`, serverCpuUs),
        row(`${phase}_client_cpu_us_per_connection`, clientCpuUs),
      ];
    }),
    row("held", outcome.held),
    row("answered", outcome.answered),
    row("lost", outcome.lost),
    row("retransmissions", outcome.retransmissions),
    row("server_bytes_per_connection", outcome.serverBytesPerConnection),
    ...Object.entries(outcome.kernelClient ?? {}).flatMap(([when, { requestsPerS, p99Us }]) => [
      row(`wrk_${when}_requests_per_s`, requestsPerS),
      row(`wrk_${when}_p99_us`, p99Us),
    ]),
  ];
}

/** What is missing of a run in which all went well, in words; none if nothing is. */
export function failuresOf({ connections, phases, held, answered, lost }: Outcome): string[] {
  const asked = ASKS * connections;
  return [
    ...(lost > 0 ? [`${count(lost)} connections were lost`] : []),
    ...(held < connections ? [`${count(connections - held)} were not held`] : []),
    ...(answered < asked ? [`${count(asked - answered)} requests were not answered`] : []),
    ...phases.filter(({ done }) => done < connections).map(({ name, done }) =>
      `in "${name}" ${count(connections - done)} did not do it`
    ),
  ];
}

/** The result in a few lines, the last one a sentence. */
export function summary(outcome: Outcome): string {
  const { connections, phases, held, answered, lost, losses, serverBytesPerConnection } = outcome;
  const lines = phases.map(({ name, seconds, done, serverCpuUs, clientCpuUs }) =>
    `${name.padEnd(16)}${seconds.toFixed(1).padStart(8)} s  ${count(Math.round(done / seconds)).padStart(9)}/s  ` +
    `CPU-µs for each: server ${serverCpuUs.toFixed(1)}, client ${clientCpuUs.toFixed(1)}`
  );
  for (const [when, { requestsPerS, p99Us }] of Object.entries(outcome.kernelClient ?? {})) {
    lines.push(
      `wrk ${when.padEnd(10)}${count(Math.round(requestsPerS)).padStart(10)} requests/s, p99 ${count(p99Us)} µs`,
    );
  }
  const why = Object.entries(losses).map(([reason, times]) => `${reason} ${count(times)}`).join(", ");
  lines.push(
    `xdp held ${count(held)} of ${count(connections)} connections and answered ${count(answered)} requests; ` +
      `${count(lost)} were lost${why === "" ? "" : ` (${why})`}; ` +
      `${serverBytesPerConnection.toFixed(1)} bytes of the server's memory for each.`,
  );
  const failures = failuresOf(outcome);
  if (failures.length > 0) lines.splice(-1, 0, `failed: ${failures.join("; ")}`);
  return lines.join("\n");
}
