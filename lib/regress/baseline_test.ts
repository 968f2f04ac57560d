import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import {
  type BaselineEntry,
  DamagedBaseline,
  findEntry,
  type HostKind,
  hostKind,
  readBaseline,
  updateBaseline,
} from "./baseline.ts";
import { hostFacts } from "../sampling/host.ts";

const kind: HostKind = { cpu: "Model 1", cores: 2, kernel: "6.18", io_uring: "available" };
const entry: BaselineEntry = {
  experiment: "event-loop",
  reference: "epoll",
  connections: 10,
  kind,
  time: "2026-01-31T12:00:00.000Z",
  deno: "2.9.6",
  v8: "15.0",
  log_ratios: [0.5, 0.51],
};
const { experiment, reference, connections } = entry;
const wanted = { experiment, reference, connections, kind };

function baseline(content?: string) {
  const dir = Deno.makeTempDirSync();
  const path = join(dir, "baseline.json");
  if (content !== undefined) Deno.writeTextFileSync(path, content);
  return {
    path,
    text: () => Deno.readTextFileSync(path),
    [Symbol.dispose]: () => Deno.removeSync(dir, { recursive: true }),
  };
}

Deno.test("the kind of a machine is its processor, cores and kernel, not the version of the runtime or a patch of the kernel", () => {
  const facts = hostFacts();
  const of = (change: Partial<typeof facts>) => hostKind({ ...facts, ...change });
  assertEquals(of({ kernel: "6.18.44-x" }), of({ kernel: "6.18.2", deno: "1.0.0" }));
  assertEquals(of({ kernel: "6.18.44-x" }).kernel, "6.18");
  assert(of({ kernel: "6.1.0" }).kernel !== of({ kernel: "6.18.0" }).kernel);
});

Deno.test("an update takes the place of the same measurement, and leaves all others as they were", async () => {
  using file = baseline();
  assertEquals(await readBaseline(file.path), []);
  const elsewhere = { ...entry, kind: { ...kind, cpu: "Model 2" } };
  const other = { ...entry, experiment: "select" };
  await updateBaseline(file.path, [entry, elsewhere, other]);
  const newer = { ...entry, log_ratios: [0.4] };
  await updateBaseline(file.path, [newer]);
  assertEquals(await readBaseline(file.path), [elsewhere, newer, other]);
});

Deno.test("an entry counts for its own kind of machine, reference and connections; why there is none is said", () => {
  assertEquals(findEntry([entry], wanted), entry);
  const missing = (change: Partial<typeof wanted>, entries = [entry]) => {
    const found = findEntry(entries, { ...wanted, ...change });
    return "missing" in found ? found.missing : "";
  };
  assertMatch(missing({}, []), /^there is no baseline of it/);
  assertMatch(
    missing({ kind: { ...kind, cores: 4 } }),
    /another kind of machine \(Model 1, 2 cores.*this is Model 1, 4/,
  );
  assertMatch(missing({ kind: { ...kind, io_uring: "EPERM" } }), /another kind of machine/);
  assertMatch(missing({ connections: 20 }), /another reference or number of connections/);
});

Deno.test("a damaged or newer baseline is an error that tells the remedy, and is not written over", async () => {
  const good = { schema: 1, entries: [entry] };
  for (
    const content of [
      JSON.stringify(good).slice(0, -9),
      JSON.stringify({ ...good, schema: 2 }),
      JSON.stringify({ ...good, entries: [{ ...entry, log_ratios: [null] }] }),
      "[]",
    ]
  ) {
    using file = baseline(content);
    await assertRejects(() => readBaseline(file.path), DamagedBaseline, `Restore it (git checkout ${file.path})`);
    await assertRejects(() => updateBaseline(file.path, [entry]), DamagedBaseline);
    assertEquals(file.text(), content);
  }
});
