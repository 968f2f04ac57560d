import { assert, assertEquals, assertMatch } from "@std/assert";
import { EXIT } from "../lib/cli/exit.ts";

interface Lock {
  specifiers: Record<string, string>;
  npm: Record<string, { integrity: string }>;
}

const ROOT = new URL("../", import.meta.url);
const read = (path: string) => JSON.parse(Deno.readTextFileSync(new URL(path, ROOT)));
const ours = Object.entries<string>(read("scripts/imports.json").imports);
const originals: Record<string, string> = read("scripts/jsr.json").imports;
const tasks: [name: string, task: { command: string }][] = Object.entries(read("deno.json").tasks);
const small: Lock = read("deno.lock");
const all: Lock = read("scripts/all.lock");

Deno.test("jsr.json maps each name that imports.json maps to a file to the package of that name, in one exact version", () => {
  const standIns = ours.filter(([_, target]) => target.startsWith("../")).map(([name]) => name);
  assertEquals(Object.keys(originals).sort(), standIns.sort());
  for (const name of standIns) {
    const [, scope, path = ""] = /^(@[^/]+\/[^/]+)(\/.+)?$/.exec(name)!;
    assertMatch(originals[name]!, RegExp(`^jsr:${scope}@\\d+\\.\\d+\\.\\d+${path}$`));
  }
});

Deno.test("every other package is of one exact version", () => {
  for (const [name, target] of ours.filter(([_, target]) => !target.startsWith("../"))) {
    const [, version] = /@(\d+\.\d+\.\d+)\/?$/.exec(target)!;
    assertEquals(target, name.endsWith("/") ? `npm:/${name.slice(0, -1)}@${version}/` : `npm:${name}@${version}`);
  }
});

Deno.test("no command adds a package by itself, and the notebooks have the packages of all.lock", () => {
  assertEquals(read("deno.json").lock, { path: "deno.lock", frozen: true });
  assertEquals(read("notebooks/deno.json").lock, { path: "../scripts/all.lock", frozen: true });
  assertEquals(read("deno.json").importMap, "scripts/imports.json");
  assertEquals(read("notebooks/deno.json").importMap, "../scripts/imports.json");
});

Deno.test("deno.lock, which deno task downloads as a whole, stays small, and is a part of all.lock", () => {
  const count = Object.keys(small.npm).length;
  assert(count > 0 && count < 25, `${count}: what only tests, charts and the report need belongs to all.lock alone`);
  assert(Object.keys(all.npm).length < 80);
  for (const [name, version] of Object.entries(small.specifiers)) assertEquals(all.specifiers[name], version, name);
  for (const [name, { integrity }] of Object.entries(small.npm)) {
    assertEquals(all.npm[name]?.integrity, integrity, name);
  }
});

Deno.test("every command starts with the packages of its lock file", async () => {
  const commands = tasks.flatMap(([_, { command }]) => /^deno run (.+)$/.exec(command)?.slice(1) ?? []);
  assert(commands.length > 15);
  for (const command of commands) {
    const args = ["run", "--no-prompt", ...command.split(" "), "--help"];
    const { code, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT, stdin: "null" }).output();
    const isStarted = code === EXIT.ok || code === EXIT.unavailable; // wine has no help of ours, and may be missing
    assert(isStarted, `${command}: ${new TextDecoder().decode(stderr)}`);
  }
});
