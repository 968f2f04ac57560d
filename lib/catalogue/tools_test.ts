import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { catalogue } from "./catalogue.ts";
import {
  installLine,
  isInstalled,
  missingTools,
  obstacleTo,
  type Tool,
  TOOLS,
  toolsOf,
  unobtainable,
} from "./tools.ts";

const ABSENT: Tool = {
  command: "no-such-program-7f3a",
  package: "nothing",
  reason: "is never there",
  everywhere: true,
};
const PRESENT: Tool = { command: Deno.execPath(), package: "deno", reason: "runs this test", everywhere: true };

Deno.test("a program is installed if it can be started, whatever it answers", async () => {
  assert(await isInstalled(PRESENT.command));
  assertEquals(await isInstalled(ABSENT.command), false);
});

Deno.test("only what is not installed is missing, and only where it exists", async () => {
  const { everywhere: _, ...onLinuxOnly } = ABSENT;
  assertEquals(await missingTools([PRESENT, ABSENT]), [ABSENT]);
  assertEquals(await missingTools([onLinuxOnly]), Deno.build.os === "linux" ? [onLinuxOnly] : []);
});

Deno.test("a library is installed if the loader finds it, a header if it stands under /usr/include", async () => {
  const isLinux = Deno.build.os === "linux";
  assertEquals(await isInstalled("libc.so.6"), isLinux);
  assertEquals(await isInstalled("libno-such-7f3a.so.1"), false);
  assertEquals(await isInstalled("no-such-7f3a.h"), false);
});

Deno.test("what experiments need becomes tools, each once, and only where they run", () => {
  const [some] = catalogue();
  const needing = (name: string, os: "any" | "darwin" | "linux", thing: string) => ({
    ...some!,
    name,
    requires: [{ os, kernel: null }],
    needs: [{ thing, package: `${thing}-package` }],
  });
  const elsewhere = Deno.build.os === "darwin" ? "linux" : "darwin";
  const nowhere = { ...needing("e", "any", "y"), needs: [{ thing: "liby.so", package: null }] };
  const all = [
    nowhere,
    needing("a", "any", "gcc"),
    needing("b", "any", "gcc"),
    needing("c", elsewhere, "x"),
    needing("d", "any", "libx.so.1"),
  ];
  assertEquals(toolsOf(all), [
    { command: "gcc", package: "gcc-package", reason: "needed by a", everywhere: true },
    { command: "libx.so.1", package: "libx.so.1-package", reason: "needed by d" },
  ]);
});

Deno.test("an experiment says what it lacks: its system, what can be installed, or what cannot", async () => {
  const [some] = catalogue();
  const lacking = (name: string | null) => ({
    ...some!,
    name: "x",
    requires: [{ os: "any" as const, kernel: null }],
    needs: [{ thing: name === null ? "liby-7f3a.so" : "no-such-program-7f3a", package: name }],
  });
  assertStringIncludes((await obstacleTo(lacking("some-package")))!, "x needs no-such-program-7f3a: ");
  if (Deno.build.os === "linux") {
    assertEquals(await obstacleTo(lacking(null)), "x needs liby-7f3a.so, of which Debian has no package.");
    assertEquals(await unobtainable(lacking(null)), "liby-7f3a.so");
  }
  assertEquals(await obstacleTo({ ...lacking(null), needs: [] }), null);
  const elsewhere = Deno.build.os === "darwin" ? "windows" : "darwin";
  assertMatch(
    (await obstacleTo({ ...lacking(null), requires: [{ os: elsewhere, kernel: null }] }))!,
    /^x needs .*; this is/,
  );
});

Deno.test("the install line names every package once", () => {
  assertStringIncludes(
    installLine(TOOLS, "linux"),
    "apt-get install -y curl wrk nghttp2-client util-linux iproute2 procps strace",
  );
  assertEquals(installLine([ABSENT], "darwin"), "brew install nothing");
  assertStringIncludes(installLine([ABSENT, PRESENT], "windows"), "nothing deno");
});

Deno.test("every program is listed once and says what it is good for", () => {
  assertEquals(new Set(TOOLS.map((tool) => tool.command)).size, TOOLS.length);
  for (const tool of TOOLS) assertMatch(tool.reason, /^[a-z].{10,70}[^.]$/);
});
