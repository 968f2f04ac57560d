import { assertEquals, assertMatch } from "@std/assert";

interface Config {
  imports: Record<string, string>;
  compilerOptions: Record<string, boolean>;
}

const read = (name: string): Config => JSON.parse(Deno.readTextFileSync(new URL(name, import.meta.url)));
const ours = read("../deno.json");
const originals = read("./jsr.json");

Deno.test("jsr.json names the same packages as deno.json, and checks types as strictly", () => {
  assertEquals(Object.keys(originals.imports).sort(), Object.keys(ours.imports).sort());
  assertEquals(originals.compilerOptions, ours.compilerOptions);
});

Deno.test("what deno.json maps to a file, jsr.json maps to the package of that name, in one exact version", () => {
  const standIns = Object.entries(ours.imports).filter(([_, target]) => target.startsWith("./"));
  for (const [name] of standIns) {
    const [, scope, path = ""] = /^(@[^/]+\/[^/]+)(\/.+)?$/.exec(name)!;
    assertMatch(originals.imports[name]!, RegExp(`^jsr:${scope}@\\d+\\.\\d+\\.\\d+${path}$`));
  }
});

Deno.test("every other package is the same in both, and of one exact version", () => {
  for (const [name, target] of Object.entries(ours.imports).filter(([_, target]) => !target.startsWith("./"))) {
    assertMatch(target, RegExp(`^npm:${name}@\\d+\\.\\d+\\.\\d+$`));
    assertEquals(originals.imports[name], target);
  }
});
