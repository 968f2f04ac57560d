/**
 * The bytes of answers that a server sends over very many connections.
 *
 * @module
 */
import { linuxOnly, type Probe, type ProbePlan, type ProbeRow, rowsOf, RUNS } from "./probe.ts";
import { orMissing, Rig } from "./rig.ts";

const NAME = "bandwidth";
const SERVER = "epoll";
const METRICS = ["bytes_per_s", "bytes_per_s_per_conn"] as const;

/** How it is measured. */
export interface Extent {
  connections: number;
  /** Windows and their length. */
  runs: number;
  seconds: number;
}

/** The length of an answer to `GET /`, head included: what comes until the server closes. */
async function answerBytes(port: number): Promise<number> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await connection.write(new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  await connection.closeWrite(); // Connection: close would make the answer longer
  let length = 0;
  for (const part = new Uint8Array(1024);;) {
    const got = await connection.read(part);
    if (got === null) return length;
    length += got;
  }
}

/** Measures a closed loop: each connection asks again as soon as it is answered. */
export async function measureBandwidth({ connections, runs, seconds }: Extent, plan: ProbePlan): Promise<ProbeRow[]> {
  const rows = rowsOf(NAME, `${SERVER} ${connections}`);
  return await orMissing([rows], METRICS, plan, async () => {
    await using rig = await Rig.start({ server: SERVER, signal: plan.signal });
    const length = await answerBytes(rig.server.port);
    plan.onProgress(`${connections} connections`);
    await rig.climber()(connections);
    await rig.closed(seconds, seconds);
    const rates: number[] = [];
    for (let run = 0; run < runs; run++) {
      const { requests, seconds: lasted } = await rig.closed(seconds);
      rates.push(requests * length / lasted);
    }
    const note = `answers of ${length} bytes, over ${connections} connections`;
    return [rows.of(METRICS[0], rates, note), rows.of(METRICS[1], rates.map((rate) => rate / connections), note)];
  });
}

export const bandwidth: Probe = {
  name: NAME,
  title: "Bytes per second of answers, in all and for each of 10 000 connections",
  obstacle: linuxOnly,
  run: (plan) =>
    measureBandwidth(
      plan.quick ? { connections: 1000, runs: 1, seconds: 0.5 } : { connections: 10_000, runs: RUNS, seconds: 2 },
      plan,
    ),
};
