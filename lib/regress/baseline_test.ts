import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import {
  type BaselineEntry,
  DamagedBaseline,
  findEntry,
  type HostKind,
  hostKind,
  MAX_NIGHTS,
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
  digests: { reference: "a", generator: "b", load: "c" },
  nights: [{ time: "2026-01-31T12:00:00.000Z", deno: "2.9.6", v8: "15.0", log_ratios: [0.5, 0.51] }],
};
const { experiment, reference, connections, digests } = entry;
const wanted = { experiment, reference, connections, kind, digests };

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

Deno.test("an update adds a night to the same measurement, and leaves all others as they were", async () => {
  using file = baseline();
  assertEquals(await readBaseline(file.path), []);
  const elsewhere = { ...entry, kind: { ...kind, cpu: "Model 2" } };
  const other = { ...entry, experiment: "select" };
  await updateBaseline(file.path, [entry, elsewhere, other]);
  const newer = { ...entry, nights: [{ ...entry.nights[0]!, log_ratios: [0.4] }] };
  await updateBaseline(file.path, [newer]);
  const grown = { ...entry, nights: [...entry.nights, ...newer.nights] };
  assertEquals(
    await readBaseline(file.path),
    [elsewhere, other, grown].toSorted((a, b) => a.experiment < b.experiment ? -1 : 1),
  );
  for (let i = 0; i < MAX_NIGHTS; i++) await updateBaseline(file.path, [newer]);
  const last = (await readBaseline(file.path)).find((each) =>
    each.experiment === experiment && each.kind.cpu === kind.cpu
  )!;
  assertEquals(last.nights, Array(MAX_NIGHTS).fill(newer.nights[0]));
});

Deno.test("another reference, generator or load begins a new baseline, and its rounds are not compared with the old one's", async () => {
  using file = baseline();
  await updateBaseline(file.path, [entry]);
  for (const name of ["reference", "generator", "load"] as const) {
    const found = findEntry([entry], { ...wanted, digests: { ...digests, [name]: "z" } });
    assertMatch(
      "missing" in found ? found.missing : "",
      /^its baseline was measured with another (reference|load generator|load)$/,
    );
  }
  const changed = { ...entry, digests: { ...digests, generator: "z" } };
  await updateBaseline(file.path, [changed]);
  assertEquals(await readBaseline(file.path), [changed]);
});

Deno.test("an entry counts for its own kind of machine, reference and connections; why there is none is said", () => {
  assertEquals(findEntry([entry], wanted), entry);
  const missing = (change: Partial<typeof wanted>, entries = [entry]) => {
    const found = findEntry(entries, { ...wanted, ...change });
    return "missing" in found ? found.missing : "";
  };
  assertMatch(missing({}, []), /^there was no baseline of it yet/);
  assertMatch(
    missing({ kind: { ...kind, cores: 4 } }),
    /another kind of machine \(Model 1, 2 cores.*this is Model 1, 4/,
  );
  assertMatch(missing({ kind: { ...kind, io_uring: "EPERM" } }), /another kind of machine/);
  assertMatch(missing({ connections: 20 }), /another reference or number of connections/);
});

Deno.test("a damaged or newer baseline is an error that tells the remedy, and is not written over", async () => {
  const good = { schema: 2, entries: [entry] };
  for (
    const content of [
      JSON.stringify(good).slice(0, -9),
      JSON.stringify({ ...good, schema: 3 }),
      JSON.stringify({ ...good, entries: [{ ...entry, nights: [{ ...entry.nights[0]!, log_ratios: [null] }] }] }),
      "[]",
    ]
  ) {
    using file = baseline(content);
    await assertRejects(() => readBaseline(file.path), DamagedBaseline, `Restore it (git checkout ${file.path})`);
    await assertRejects(() => updateBaseline(file.path, [entry]), DamagedBaseline);
    assertEquals(file.text(), content);
  }
});
