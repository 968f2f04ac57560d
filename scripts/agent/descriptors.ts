/**
 * What the descriptors of a load process allow: each of its connections takes one.
 *
 * @module
 */
import type { Bounds } from "../../lib/fleet/protocol.ts";
import { DESCRIPTOR_RESERVE } from "../../lib/run/guard.ts";
import { parseLimits } from "../../lib/sampling/proc_parse.ts";
import { readProc } from "../../lib/sampling/procfs.ts";

/** How many descriptors a load process may open; null: there is no limit, or the system does not tell. */
export function descriptorsHere(): number | null {
  // Deno has raised its soft limit to the hard one, and hands it on to what it starts.
  return Deno.build.os === "linux" ? parseLimits(readProc("/proc/self/limits")).nofileSoft : null;
}

/** The bounds, with no more connections than so many processes can have. */
export function within(bounds: Bounds, processes: number, descriptors: number | null): Bounds {
  if (descriptors === null) return bounds;
  const most = processes * Math.max(1, descriptors - DESCRIPTOR_RESERVE);
  return { ...bounds, connections: Math.min(bounds.connections, most) };
}
