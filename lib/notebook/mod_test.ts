import { assertEquals, assertStringIncludes } from "@std/assert";
import { createGuard, describe, find, hostFacts, runStep } from "./mod.ts";

Deno.test("with the face of the library alone an experiment is run and told, as a notebook does it", async () => {
  const result = await runStep({
    experiment: find("event-loop"),
    host: hostFacts(),
    step: { scenario: "hold", parameters: { connections: 20, seconds: 0, warmup_seconds: 0 } },
    guard: createGuard(),
    signal: new AbortController().signal,
    onProgress: () => {},
  });
  assertEquals([result.ended, result.metrics.answered], ["ok", 20]);
  assertStringIncludes(describe([result]), "hold");
});
