/**
 * Stored probes in the notebooks.
 *
 * @module
 */
import { count, MISSING } from "../text/format.ts";
import { showTable } from "./show.ts";
import { readBook } from "./stored.ts";
import type { ProbeRow } from "../results/rows.ts";
import { newestProbe } from "../results/choose.ts";

/** A figure with its interval, where it has one. */
export function withInterval({ value, low, high }: Pick<ProbeRow, "value" | "low" | "high">): string {
  return count(value, 2) + (low === null || high === null ? "" : ` [${count(low, 2)}, ${count(high, 2)}]`);
}

/**
 * Shows what a stored probe says of each variant, a metric a column. A variant that was not measured says so.
 *
 * @param metrics The heading of each.
 */
export async function showProbe(
  probe: string,
  variants: readonly string[],
  metrics: Record<string, string>,
): Promise<void> {
  const rows = newestProbe((await readBook()).studies.probe, probe);
  const of = (variant: string) => rows.filter((row) => row.variant === variant);
  await showTable(variants, [
    { heading: "", cell: (variant) => variant, left: true },
    ...Object.entries(metrics).map(([metric, heading]) => ({
      heading,
      cell: (variant: string) => {
        const row = of(variant).find((row) => row.metric === metric);
        return row === undefined ? MISSING : withInterval(row);
      },
    })),
    {
      heading: "",
      cell: (variant) => of(variant)[0]?.note ?? (of(variant).length === 0 ? "not measured yet: deno task probe" : ""),
      left: true,
    },
  ]);
}
