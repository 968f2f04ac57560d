import { assertEquals } from "@std/assert";
import { find } from "../catalogue/catalogue.ts";
import { found } from "../testing/fixtures.ts";
import { appendTo, roundInWords } from "./command.ts";
import type { Candidate, PlacedRound } from "./rounds.ts";

Deno.test("the progress says of each round what it found, and of one that does not count why", () => {
  const good: PlacedRound = {
    experiment: "event-loop",
    phase: "first",
    log_ratio: 0,
    rate_per_s: null,
    reference_cpu_us_per_request: 10,
    candidate_cpu_us_per_request: 10,
    findings: [found("epoll", "client_bound")],
    failure: null,
  };
  const said = (...rounds: PlacedRound[]): string => {
    const candidate: Candidate = { subject: find("event-loop"), connections: 10, ratePerS: null, baseline: [], rounds };
    return roundInWords(candidate, 30);
  };
  const loaded = { ...good, findings: [found("epoll", "foreign_load"), found("event-loop", "foreign_load")] };
  const failed = { ...good, log_ratio: null, findings: [], failure: { subject: "x", ended: "crashed", reason: "x" } };
  assertEquals(said(good), "event-loop: round 1 of 30, 1.000 times the CPU time per request");
  assertEquals(
    said(good, loaded),
    "event-loop: round 2 of 30, 1.000 times the CPU time per request, does not count: foreign_load",
  );
  assertEquals(said(failed as PlacedRound), "event-loop: round 1 of 30, failed: x");
  const fresh = { ...loaded, phase: "confirmation" as const, rate_per_s: 5000 };
  assertEquals(
    said(good, fresh),
    "event-loop: fresh round 1 of 30 at 5 000/s, 1.000 times the CPU time per request, does not count: foreign_load",
  );
});

Deno.test({
  name: "a summary is added to what is in the file",
  ignore: Deno.build.os === "windows", // tee
  fn: async () => {
    const path = Deno.makeTempFileSync();
    await appendTo(path, "# One\n");
    await appendTo(path, "# Two\n");
    assertEquals(Deno.readTextFileSync(path), "# One\n# Two\n");
    Deno.removeSync(path);
  },
});
