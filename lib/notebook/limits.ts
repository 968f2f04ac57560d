/**
 * What a number of connections meets on a machine, step by step.
 *
 * @module
 */
import { bytes, count, MISSING } from "../text/format.ts";
import type { HostFacts } from "../sampling/host.ts";
import type { Column } from "../text/table.ts";

/** What one number of connections meets here, in a row of a table. */
export interface Limits {
  connections: number;
  descriptors: string;
  addresses: string;
  memory: string;
  cpu: string;
}

const REQUEST_EVERY_S = 60; // a client that asks once a minute, as phones do that wait for news

/**
 * What a number of connections to one server process meets: its descriptors, the ports of its clients, memory of the kernel
 * alone, and CPU where each client asks once a minute.
 *
 * @param needs Bytes of the kernel for one connection and CPU-µs of one request; null: not measured.
 */
export function limitsAt(
  connections: number,
  { limits, sysctls, memory_bytes, cores }: Pick<HostFacts, "limits" | "sysctls" | "memory_bytes" | "cores">,
  needs: { kernelBytes: number | null; cpuUs: number | null },
): Limits {
  const { kernelBytes, cpuUs } = needs;
  const against = (needed: number | null, limit: number | null, write: (value: number) => string) => {
    if (needed === null || limit === null) return MISSING;
    return `${write(needed)} of ${write(limit)}: ${needed <= limit ? "within" : "**over**"}`;
  };
  const range = sysctls["net.ipv4.ip_local_port_range"];
  const ports = Array.isArray(range) ? range[1]! - range[0]! + 1 : null;
  const needed = cpuUs === null ? null : connections / REQUEST_EVERY_S * cpuUs / 1e6;
  return {
    connections,
    descriptors: against(connections, limits.nofile_hard, count),
    addresses: ports === null ? MISSING : count(Math.ceil(connections / ports)),
    memory: against(kernelBytes === null ? null : kernelBytes * connections, memory_bytes, bytes),
    cpu: against(needed, cores, (value) => count(value, Number.isInteger(value) ? 0 : value < 0.1 ? 4 : 2)),
  };
}

/** The columns of {@linkcode limitsAt}. */
export const LIMIT_COLUMNS: Column<Limits>[] = [
  { heading: "connections", cell: ({ connections }) => count(connections) },
  { heading: "descriptors of a process", cell: ({ descriptors }) => descriptors, left: true },
  { heading: "client addresses needed", cell: ({ addresses }) => addresses },
  { heading: "kernel memory of idle sockets", cell: ({ memory }) => memory, left: true },
  { heading: "cores, at one request per minute each", cell: ({ cpu }) => cpu, left: true },
];
