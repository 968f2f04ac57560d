import { assert, assertEquals } from "@std/assert";
import { showProbe, withInterval } from "./probes.ts";
import { readBook } from "./stored.ts";
import type { Study } from "../results/studies.ts";
import { showing } from "../testing/jupyter.ts";
import type { ProbeRow } from "../results/rows.ts";
import { newestProbe } from "../results/choose.ts";

const row = (probe: string, value: number | null): ProbeRow => ({
  probe,
  variant: "epoll",
  metric: "system_calls_per_request",
  value,
  low: null,
  high: null,
  runs: 3,
  note: null,
});
const study = (time: string, ...rows: ProbeRow[]) => ({ time, rows }) as Study<"probe">;

Deno.test("of a probe the newest study tells that has it", () => {
  const studies = [
    study("2025-01-02T00:00:00.000Z", row("system-calls", 2)),
    study("2025-01-03T00:00:00.000Z", row("options", 7)),
    study("2025-01-01T00:00:00.000Z", row("system-calls", 1)),
  ];
  assertEquals(newestProbe(studies, "system-calls").map(({ value }) => value), [2]);
  assertEquals(newestProbe(studies, "loops"), []);
});

Deno.test("a figure stands with its interval where it has one, and what is missing is no zero", () => {
  assertEquals(withInterval({ value: 2.5, low: 2.4, high: 2.61 }), "2.50 [2.40, 2.61]");
  assertEquals(withInterval(row("system-calls", 2)), "2.00");
  assertEquals(withInterval(row("system-calls", null)), "–");
});

Deno.test("a variant that was never probed says how to probe it, in a table all the same", async () => {
  await showing(() => readBook()); // the first call shows whose figures these are
  const shown = await showing(() => showProbe("no-such-probe", ["epoll"], { some_us: "some time" }));
  assertEquals(shown.map(({ data }) => Object.keys(data)), [["text/markdown", "text/plain"]]);
  const text = shown[0]!.data["text/markdown"]!;
  assert(text.includes("| epoll | – | not measured yet: deno task probe |"), text);
});
