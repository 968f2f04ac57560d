/**
 * Memory of a connection in the notebooks, and what it adds up to: measured on some thousands, extrapolated to millions.
 *
 * @module
 */
import { find } from "../catalogue/catalogue.ts";
import { checkSizes, findAll } from "./inputs.ts";
import type { LinesSpec } from "../charts/config.ts";
import { footprints, slope } from "./footprint.ts";
import { bytes, count, MISSING } from "../text/format.ts";
import { isQuick, Picture, showTable } from "./show.ts";
import type { Result } from "../results/results.ts";
import { kernelSocketBytes } from "../sampling/sampler.ts";
import { StartError } from "../server/server.ts";
import { median } from "../timing/stats.ts";
import type { Column } from "../text/table.ts";
import { NOISE_BYTES } from "../results/conventions.ts";

/** Memory at a number of connections; null: the system does not tell, or other sockets disturbed it. */
export interface Point {
  connections: number;
  /** Of the server's processes (PSS). */
  userBytes: number;
  /** Of sockets in the kernel, since before the server started; the server's ends alone. */
  kernelBytes: number | null;
}

/** What a server has taken; no points, and the reason, if it cannot run here. */
export interface Growth {
  name: string;
  points: Point[];
  reason: string | null;
}

/**
 * What one more connection takes of a server's processes, and below which size that tells nothing: a heap differs by some MiB
 * between two looks, and the fewer connections that is spread over, the more it is for each.
 */
export function userMemory(points: readonly Point[]): string {
  const each = slope(points, "userBytes");
  if (each === null) return MISSING;
  const noise = NOISE_BYTES / (points.at(-1)!.connections - points[0]!.connections);
  return Math.abs(each) < noise ? `${bytes(each)}: noise, as it is under ${bytes(noise)}` : bytes(each);
}

const DISTURBED = "the system does not tell, or others closed sockets meanwhile";

/** Memory of each server's processes above that at the first point, and the kernel's part beside the last server. */
export function growthChart(all: readonly Growth[]): LinesSpec {
  const line = (name: string, family: string, points: readonly Point[], of: "userBytes" | "kernelBytes") => ({
    name,
    family,
    points: points.map((point) => {
      const [value, from] = [point[of], points[0]![of]];
      const isKnown = value !== null && from !== null;
      return { x: point.connections, ...(isKnown ? { value: value - from } : { value: null, note: DISTURBED }) };
    }),
  });
  const servers = all.filter(({ points }) => points.length > 0);
  const last = servers.at(-1);
  return {
    kind: "lines",
    title: "Memory above that at the first point",
    x: { label: "connections", unit: "connections", scale: "linear" },
    y: { label: "memory", unit: "bytes", scale: "linear" },
    series: [
      ...servers.map(({ name, points }) => line(name, find(name).family, points, "userBytes")),
      ...(last === undefined ? [] : [line("kernel", "custom", last.points, "kernelBytes")]),
    ],
  };
}

/** Makes connections to one server after the other, with a chart that grows meanwhile. Nothing is stored. */
export async function growLive(names: readonly string[], sizes: readonly number[]): Promise<Growth[]> {
  findAll(names);
  checkSizes(sizes);
  const picture = new Picture();
  const all: Growth[] = [];
  const few = [sizes[0]!, sizes.at(-1)!];
  for (const name of names) {
    const growth: Growth = { name, points: [], reason: null };
    const before = kernelSocketBytes() ?? NaN;
    all.push(growth);
    try {
      for await (const { connections, pss_bytes } of footprints(find(name), isQuick ? few : sizes)) {
        const kernelBytes = ((kernelSocketBytes() ?? NaN) - before) / 2; // both ends are on this host
        growth.points.push({ connections, userBytes: pss_bytes, kernelBytes: kernelBytes > 0 ? kernelBytes : null });
        await picture.draw(growthChart(all));
      }
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      growth.reason = error.failure.reason;
      await picture.draw(growthChart(all));
    }
  }
  await showTable(all, [
    { heading: "server", cell: ({ name }) => name, left: true },
    { heading: "connections", cell: ({ points }) => count(points.at(-1)?.connections) },
    { heading: "user memory per connection", cell: ({ points }) => userMemory(points) },
    { heading: "kernel memory per connection", cell: ({ points }) => bytes(slope(points, "kernelBytes")) },
    { heading: "", cell: ({ reason }) => reason ?? "", left: true },
  ]);
  return all;
}

/** What one idle connection weighs, by stored runs. */
export interface Weight {
  name: string;
  userBytes: number | null;
  /** Its own, or where that was not measured the median of all: the socket is the same. */
  kernelBytes: number | null;
  isKernelOfOthers: boolean;
}

/** Finds what a connection weighs: of each server the run of `hold` with the most connections that tells, of equals the newest. */
export function weigh(names: readonly string[], results: readonly Result[]): Weight[] {
  const holds = results.filter(({ scenario }) => scenario === "hold");
  const best = (name: string, metric: "user_bytes_per_conn" | "kernel_bytes_per_conn") =>
    holds.filter(({ experiment, metrics }) => experiment === name && metrics[metric] !== null)
      .toSorted((a, b) => b.metrics.connections! - a.metrics.connections! || b.time.localeCompare(a.time))[0]
      ?.metrics[metric] ?? null;
  const known = holds.map(({ metrics }) => metrics.kernel_bytes_per_conn).filter((value) => value !== null);
  const usual = known.length === 0 ? null : median(known);
  return names.map((name) => {
    const own = best(name, "kernel_bytes_per_conn");
    const userBytes = best(name, "user_bytes_per_conn");
    return { name, userBytes, kernelBytes: own ?? usual, isKernelOfOthers: own === null };
  });
}

/** Bytes of one connection, user and kernel; null where one of them is not known. */
export const total = ({ userBytes, kernelBytes }: Weight): number | null =>
  userBytes === null || kernelBytes === null ? null : Math.max(0, userBytes) + kernelBytes; // negative: noise around none

/** Columns that multiply the bytes of one connection, and hold them against the memory of a machine. */
export const extrapolation = (sizes: readonly number[], memoryBytes: number): Column<Weight>[] => [
  { heading: "server", cell: ({ name }) => name, left: true },
  { heading: "user memory per connection", cell: ({ userBytes }) => bytes(userBytes) },
  {
    heading: "kernel memory per connection",
    cell: ({ kernelBytes, isKernelOfOthers }) => bytes(kernelBytes) + (isKernelOfOthers ? " (as others)" : ""),
  },
  ...sizes.map((size) => ({
    heading: `${count(size)} connections`,
    cell: (of: Weight) => {
      const each = total(of);
      if (each === null) return MISSING;
      const machines = each * size / memoryBytes;
      return `${bytes(each * size)} = ${count(machines, machines < 10 ? 2 : 0)} machines`;
    },
  })),
];
