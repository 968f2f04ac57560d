import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { type HostFacts, hostFacts, NOT_AVAILABLE } from "../sampling/host.ts";
import { HOST } from "../testing/fixtures.ts";
import { folder } from "../testing/folder.ts";
import { machineOf, machinesIn, referenceMachine } from "./machine.ts";

const GIB = 2 ** 30;
const named = (change: Partial<HostFacts>) => machineOf({ ...HOST, ...change });

Deno.test("a machine is named by its processor, family, model, stepping, cores, memory and system", () => {
  const epyc = { cpu: "AMD EPYC", cpu_family: 25, cpu_model: 17, cpu_stepping: 1 };
  assertEquals(named(epyc), "amd-epyc-25-17-1-2c-24g-linux");
  const xeon = { cpu: "Intel(R) Xeon(R) Platinum 8488C", cpu_family: 6, cpu_model: 143, cpu_stepping: 8 };
  assertEquals(
    named({ ...xeon, cores: 192, memory_bytes: 768 * GIB }),
    "intel-xeon-platinum-8488c-6-143-8-192c-768g-linux",
  );
  const core = { cpu: "Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz", cpu_family: 6, cpu_model: 142, cpu_stepping: 10 };
  assertEquals(named(core), "intel-core-i7-8650u-cpu-1-90ghz-6-142-10-2c-24g-linux");
});

Deno.test("what the system does not say is left out of the name, and without a processor the architecture stands there", () => {
  const mac = { ...NOT_AVAILABLE, cpu: "Apple M2", arch: "aarch64", os: "darwin" };
  assertEquals(named({ ...mac, cores: 8, memory_bytes: 16 * GIB }), "apple-m2-8c-16g-darwin");
  assertEquals(named({ cpu: null, arch: "aarch64", cores: 4, memory_bytes: 8 * GIB }), "aarch64-4c-8g-linux");
  assertEquals(named({ cpu: "AMD EPYC" }), "amd-epyc-2c-24g-linux");
  assertEquals(named({ cpu_family: 0, cpu_model: 0, cpu_stepping: 0 }), "a-cpu-0-0-0-2c-24g-linux");
});

Deno.test("a name is one path segment, whatever the processor calls itself", () => {
  for (const cpu of ["../../etc", "a/b\\c", ".hidden", "Ünïcode ™ (R)", "  spaced   out  ", "???", ""]) {
    assertMatch(named({ cpu }), /^[a-z0-9]+(-[a-z0-9]+)*$/, cpu);
  }
});

Deno.test("memory counts in whole GiB, so that what the firmware keeps makes no other machine", () => {
  assertEquals(named({ memory_bytes: 24 * GIB - 300e6 }), named({ memory_bytes: 24 * GIB }));
  assertNotEquals(named({ memory_bytes: 23 * GIB }), named({ memory_bytes: 24 * GIB }));
});

Deno.test("a newer kernel or runtime makes no other machine; a processor, cores or a system do", () => {
  assertEquals(named({ kernel: "7.0", deno: "3.0.0", v8: "16.0", io_uring: "EPERM" }), machineOf(HOST));
  const others = [{ cpu: "b CPU" }, { cpu_stepping: 2 }, { cores: 64 }, { os: "windows" }];
  const names = [HOST, ...others.map((change) => ({ ...HOST, ...change }))].map(machineOf);
  assertEquals(new Set(names).size, names.length);
});

Deno.test("this machine has a name too", () => assertMatch(machineOf(hostFacts()), /-\d+c-\d+g-[a-z]+$/));

Deno.test("the machines of results/ are its folders, without charts, hidden ones and files", async () => {
  using dir = folder();
  assertEquals(await machinesIn(join(dir.path, "none")), []);
  for (const name of ["b-2c-4g-linux", "a-2c-4g-linux", "charts", ".git"]) Deno.mkdirSync(join(dir.path, name));
  Deno.writeTextFileSync(join(dir.path, "FORMAT.md"), "");
  assertEquals(await machinesIn(dir.path), ["a-2c-4g-linux", "b-2c-4g-linux"]);
});

Deno.test("the reference is what its file names; without the file, or with an empty one, there is none", async () => {
  using dir = folder();
  assertEquals(await referenceMachine(dir.path), null);
  Deno.writeTextFileSync(join(dir.path, "reference"), "\n");
  assertEquals(await referenceMachine(dir.path), null);
  Deno.writeTextFileSync(join(dir.path, "reference"), "a-2c-4g-linux\n");
  assertEquals(await referenceMachine(dir.path), "a-2c-4g-linux");
});

Deno.test("the reference of this project has a folder", async () => {
  const dir = new URL("../../results", import.meta.url).pathname;
  assert((await machinesIn(dir)).includes((await referenceMachine(dir))!));
});
