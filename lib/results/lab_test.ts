import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { folder } from "../testing/folder.ts";
import { digestOf, labVersion, loadDigest, readCommit } from "./lab.ts";

async function git(dir: string, ...args: string[]): Promise<void> {
  const env = { GIT_CONFIG_GLOBAL: "/dev/null", GIT_CONFIG_SYSTEM: "/dev/null" };
  const identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
  const { success, stderr } = await new Deno.Command("git", { args: ["-C", dir, ...identity, ...args], env }).output();
  if (!success) throw new Error(`git ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

const hasGit = await new Deno.Command("git", { args: ["--version"], stdout: "null" }).output()
  .then(({ success }) => success, () => false);

Deno.test({
  name: "the commit is that of the checkout, and -dirty stands behind it where files differ",
  ignore: !hasGit,
  fn: async () => {
    using dir = folder();
    const file = join(dir.path, "a.ts");
    await git(dir.path, "init", "--quiet");
    Deno.writeTextFileSync(file, "1");
    await git(dir.path, "add", "a.ts");
    await git(dir.path, "commit", "--quiet", "-m", "One");
    await git(dir.path, "tag", "-a", "v1", "-m", "a tag is no commit");
    const clean = await readCommit(dir.path);
    assertMatch(clean!, /^[0-9a-f]{12}$/);
    Deno.writeTextFileSync(file, "2");
    assertEquals(await readCommit(dir.path), `${clean}-dirty`);
    await git(dir.path, "commit", "--quiet", "-a", "-m", "Two");
    const next = await readCommit(dir.path);
    assertMatch(next!, /^[0-9a-f]{12}$/);
    assertNotEquals(next, clean);
  },
});

Deno.test("outside of a repository there is no commit", async () => {
  using dir = folder();
  assertEquals(await readCommit(dir.path), null);
});

Deno.test("without the permission to run git there is no commit, and no error", async () => {
  using dir = folder();
  const script = join(dir.path, "commit.ts");
  const module = JSON.stringify(new URL("./lab.ts", import.meta.url).href);
  Deno.writeTextFileSync(script, `import { readCommit } from ${module};\nconsole.log(await readCommit());`);
  const args = ["run", "--no-prompt", "--no-config", "--no-lock", "--allow-read", script];
  const { stdout } = await new Deno.Command(Deno.execPath(), { args, env: { NO_COLOR: "1" } }).output();
  assertEquals(new TextDecoder().decode(stdout), "null\n");
});

Deno.test("the digest of what serves changes with the file, and of no file there is none", async () => {
  using dir = folder();
  const file = join(dir.path, "server.ts");
  Deno.writeTextFileSync(file, "1");
  const first = await labVersion(file);
  assertEquals(await labVersion(file), first);
  Deno.writeTextFileSync(file, "2");
  const second = await labVersion(file);
  assertMatch(second.served!, /^[0-9a-f]{16}$/);
  assertNotEquals(second.served, first.served);
  assertEquals({ ...second, served: null }, await labVersion(null));
});

Deno.test("the digest of the load generator is that of its sources without their tests", async () => {
  const { load, commit } = await labVersion(null);
  assertEquals(load, await loadDigest());
  assertMatch(load!, /^[0-9a-f]{16}$/);
  assertEquals(commit, await readCommit());
});

Deno.test("the digest of the load generator changes with what makes and counts load, and with nothing else", async () => {
  using dir = folder();
  const write = (path: string, text: string) => {
    Deno.mkdirSync(join(dir.path, path, ".."), { recursive: true });
    Deno.writeTextFileSync(join(dir.path, path), text);
  };
  const main = `import { a } from "./engine.ts";
import type { T } from "../timing/unused.ts";
const { b } = await import("./epoll.ts");`;
  const engine = `import {
  Histogram,
} from "../timing/histogram.ts";
import { a } from "@std/assert";`;
  const files = {
    ...{ "load/main.ts": main, "load/engine.ts": engine, "load/epoll.ts": `export * from "../server/launch.ts";` },
    ...{ "load/merge.ts": "1", "timing/histogram.ts": "1", "server/launch.ts": `import "../load/main.ts";` },
    "fleet/protocol.ts": "1",
  };
  const others = ["load/a_test.ts", "timing/unused.ts", "fleet/coordinator.ts", "server/server.ts"];
  for (const [path, text] of Object.entries(files)) write(path, text);
  for (const path of others) write(path, "1");
  const first = await loadDigest(dir.path);
  for (const [path, text] of Object.entries(files)) {
    write(path, `${text}\n// changed`);
    assertNotEquals(await loadDigest(dir.path), first, path);
    write(path, text);
  }
  for (const path of others) write(path, "2");
  assertEquals(await loadDigest(dir.path), first);
});

Deno.test("a digest is the same for the same value, and another for another", async () => {
  assertEquals(await digestOf({ a: [1, "2"] }), await digestOf({ a: [1, "2"] }));
  assertNotEquals(await digestOf({ a: [1, "2"] }), await digestOf({ a: [1, 2] }));
});
