/**
 * What has held so many connections on any machine of which results are stored, beside the runs that are weighed.
 *
 * @module
 */
import { CROWD } from "../../lib/results/conventions.ts";
import { machinesIn } from "../../lib/results/machine.ts";
import type { ProbeRow } from "../../lib/results/rows.ts";
import { readStudies, type Study } from "../../lib/results/studies.ts";
import { studyPath } from "../../lib/results/stored.ts";

/** A measurement of very many connections. */
export interface Held {
  server: string;
  connections: number;
  /** The command that measured it. */
  command: string;
  /** The folder of the machine, and the file. */
  machine: string;
  result: string;
}

/** The probes that hold very many connections: the server of each, and the metric that counts those that it answered. */
const PROBES = [
  { probe: "million", server: "io-uring-direct", metric: "answered" },
  { probe: CROWD.probe, server: CROWD.server, metric: "held" },
];

/** What a study shows; without those of a probe that the machine could not do. */
const heldIn = (machine: string, study: Study<"probe">): Held[] =>
  PROBES.flatMap(({ probe, server, metric }) =>
    study.rows.filter((row: ProbeRow) => row.probe === probe && row.metric === metric && row.value !== null)
      .map(({ value }) => ({
        server,
        connections: value!,
        command: study.command,
        machine,
        result: studyPath(study),
      }))
  );

/** Of each such server the measurement that is nearest to the number asked for, of those that held as many. */
export async function evidenceOf(connections: number, dir = "results"): Promise<Held[]> {
  const all = await Promise.all((await machinesIn(dir)).map(async (machine) => {
    const { studies } = await readStudies("probe", dir, machine);
    return studies.filter(({ quick }) => !quick).flatMap((study) => heldIn(machine, study));
  }));
  const enough = all.flat().filter((of) => of.connections >= connections)
    .toSorted((a, b) => a.connections - b.connections);
  return PROBES.flatMap(({ server }) => enough.find((of) => of.server === server) ?? []);
}
