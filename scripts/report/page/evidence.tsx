/**
 * What figures stand on: the machines, what weakens runs, and the verdicts on claims.
 *
 * @module
 */
/** @jsxRuntime automatic */
/** @jsxImportSource preact */
import { bytes, count, MISSING } from "../../../lib/text/format.ts";
import type { HostFacts } from "../../../lib/sampling/host.ts";
import { hostsOf, type ReportContents } from "../contents.ts";
import { DataTable, type PageColumn, Prose } from "./parts.tsx";

/** All facts of a host under the names that results/FORMAT.md explains. */
function facts({ limits, sysctls, ...rest }: HostFacts): Map<string, string> {
  const all = Object.entries({ ...rest, ...limits, ...sysctls });
  return new Map(all.map(([name, value]) => [
    name,
    value === null
      ? name.startsWith("n") && rest.os === "linux" && name in limits ? "unlimited" : MISSING
      : name === "memory_bytes"
      ? bytes(value as number)
      : typeof value === "number"
      ? count(value)
      : Array.isArray(value)
      ? value.map((number) => count(number)).join(", ")
      : value,
  ]));
}

/** The section on machines. */
export function Machines({ results, meanings }: ReportContents) {
  const hosts = hostsOf(results).map(({ host, runs }) => ({ facts: facts(host), runs: runs.length }));
  const names = [...new Set(hosts.flatMap((of) => [...of.facts.keys()]))];
  const columns: PageColumn<string>[] = [
    { heading: "fact", cell: (name) => <code>{name}</code>, left: true },
    ...hosts.map((of, i) => ({
      heading: hosts.length === 1 ? "the machine" : `machine ${i + 1}: ${count(of.runs)} runs`,
      cell: (name: string) => of.facts.get(name) ?? MISSING,
      left: true,
    })),
    { heading: "what it says", cell: (name) => <Prose text={meanings.get(name) ?? ""} />, left: true },
  ];
  return (
    <section id="machine" aria-labelledby="machine-heading">
      <h2 id="machine-heading">The machine</h2>
      <p class="prose">
        Server and load generator ran on one machine over its loopback interface, each pinned to its own core where
        there are two: no network card, no loss, no distance. The cost of the architecture is compared, nothing else.
      </p>
      {hosts.length === 0
        ? <p>Nothing is measured yet.</p>
        : <DataTable caption="Facts of the host, from the results" rows={names} columns={columns} />}
    </section>
  );
}
