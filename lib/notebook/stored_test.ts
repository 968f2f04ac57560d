import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { machineOf } from "../results/machine.ts";
import { newResult, writeResult } from "../results/results.ts";
import { type HostFacts, hostFacts } from "../sampling/host.ts";
import { folder } from "../testing/folder.ts";
import { showing } from "../testing/jupyter.ts";
import { readBook, stored } from "./stored.ts";

const here = hostFacts();
const elsewhere: HostFacts = { ...here, cpu: "another" };

const store = (dir: string, host: HostFacts, experiment: string) =>
  writeResult(
    newResult({
      experiment,
      family: "readiness",
      scenario: "hold",
      parameters: { connections: 10, seconds: 1, warmup_seconds: 0 },
      host,
      metrics: { answered: 10 },
      histogram: null,
      findings: [],
      ended: "ok",
      reason: null,
      command: `deno task exp ${experiment}`,
    }),
    dir,
  );

Deno.test("the figures are those of the reference until this machine has all of them, and never of both", async () => {
  using dir = folder();
  const read = async () => {
    const { host, results } = await readBook(dir.path);
    return [host.cpu, results.map(({ experiment }) => experiment).sort()];
  };
  assertEquals(await read(), [here.cpu, []]);
  for (const name of ["epoll", "poll"]) await store(dir.path, elsewhere, name);
  Deno.writeTextFileSync(join(dir.path, "reference"), machineOf(elsewhere));
  assertEquals(await read(), ["another", ["epoll", "poll"]]);
  await store(dir.path, here, "epoll");
  assertEquals(await read(), ["another", ["epoll", "poll"]]);
  const ofOne = await readBook(dir.path, "broadcast"); // nothing that is asked for is missing here
  assertEquals(ofOne.host.cpu, here.cpu);
  assertEquals((await readBook(dir.path, "wire")).host.cpu, here.cpu); // nor of these studies
  assertEquals((await readBook(dir.path, "hold")).host.cpu, "another");
  await store(dir.path, here, "poll");
  assertEquals(await read(), [here.cpu, ["epoll", "poll"]]);
});

Deno.test("the first call of a notebook shows whose figures these are, and no later one does", async () => {
  const [shown, ...more] = await showing(async () => {
    await readBook();
    await readBook();
    await stored();
  });
  assertEquals(more, []);
  assertMatch(shown!.data["text/markdown"]!, /^\*Figures of .*\.\*$/);
  const { machine } = await readBook();
  assert(shown!.data["text/markdown"]!.includes(machine), machine);
});
