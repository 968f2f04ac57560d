import { assert, assertEquals } from "@std/assert";
import { allowedCores, corePair, parseCpuList } from "./cores.ts";

const ignore = Deno.build.os !== "linux";

Deno.test("lists of the kernel are read", () => {
  assertEquals(parseCpuList("0-2,5,8-9\n"), [0, 1, 2, 5, 8, 9]);
  assertEquals(parseCpuList("\n"), []);
});

/** A machine whose status and topology files are these. */
const machine = (allowed: string, siblings?: string) => (path: string) => {
  if (path === "/proc/self/status") return `Name:\tdeno\nCpus_allowed_list:\t${allowed}\n`;
  if (siblings === undefined) throw new Deno.errors.NotFound(path);
  return siblings;
};

Deno.test("both sides get cores that this process may use, and of two cores rather than one", { ignore }, () => {
  assertEquals(corePair(machine("0-1")), { server: 0, load: 1 });
  assertEquals(corePair(machine("2-3")), { server: 2, load: 3 });
  assertEquals(corePair(machine("0-3", "0-1")), { server: 0, load: 2 });
  assertEquals(corePair(machine("0-1", "0-1")), { server: 0, load: 1 });
  assertEquals(corePair(machine("1")), null);
});

Deno.test("the cores of this process are as many as the runtime says", { ignore }, () => {
  const cores = allowedCores();
  assert(cores.length >= navigator.hardwareConcurrency, `${cores}`); // a quota of CPU time may say less
});
