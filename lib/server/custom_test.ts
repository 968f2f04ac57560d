import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../cli/errors.ts";
import { commandBehind, readAtRoot, readCustom } from "./custom.ts";

Deno.test("what stands behind -- is the command, and the separator of deno task is not it", () => {
  assertEquals(commandBehind(["--name", "mine", "--", "node", "x.js", "--", "-v"]), {
    own: ["--name", "mine"],
    words: ["node", "x.js", "--", "-v"],
  });
  assertEquals(commandBehind(["--", "--name", "mine", "--", "node"]), { own: ["--name", "mine"], words: ["node"] });
  assertEquals(commandBehind(["--name", "mine"]), { own: ["--name", "mine"], words: null });
  assertThrows(() => commandBehind(["--name", "mine", "--"]), UsageError, "No command");
});

Deno.test("a custom server is a command with a port, or an address with a process or without", () => {
  const own = readCustom({ name: "mine" }, ["node"], []);
  assertEquals([own.words, own.pid, own.port], [["node"], null, null]);
  assertEquals(readCustom({ name: "mine", port: "81" }, ["node"], []).port, 81);
  const running = { name: "mine", family: "custom", words: null, host: "127.0.0.1", port: 3000 } as const;
  for (const [host, inUrl] of [["localhost", "localhost"], ["::1", "[::1]"], ["127.0.0.1", "127.0.0.1"]]) {
    const url = `http://${inUrl}:3000`;
    assertEquals(readCustom({ name: "mine", url }, null, []), { ...running, host: host!, pid: null });
  }
  assertEquals(readCustom({ name: "mine", url: "http://127.0.0.1:3000/", pid: "12" }, null, []), {
    ...running,
    pid: 12,
  });
});

Deno.test("a path is named by a flag for a command, and by the address for what runs already", () => {
  const pathIn = (flags: Parameters<typeof readCustom>[0], words: string[] | null) =>
    readCustom({ name: "mine", ...flags }, words, []).path;
  assertEquals(pathIn({ path: "/healthz" }, ["node"]), "/healthz");
  assertEquals(pathIn({ url: "http://127.0.0.1:3000/search?q=1" }, null), "/search?q=1");
  assertEquals([pathIn({}, ["node"]), pathIn({ path: "/" }, ["node"])], [undefined, undefined]);
  assertEquals(pathIn({ url: "http://127.0.0.1:3000" }, null), undefined);
  const url = "http://127.0.0.1:3000/x";
  assertThrows(() => readAtRoot({ name: "mine", url }, null, []), UsageError, "only GET / is asked for here");
  assertEquals(readAtRoot({ name: "mine", url: "http://127.0.0.1:3000" }, null, []).port, 3000);
});

Deno.test("what names no server, two of them, or one elsewhere is a usage error that says so", () => {
  const cases: [Parameters<typeof readCustom>[0], string[] | null, string][] = [
    [{}, ["node"], "--name mine"],
    [{ name: "My Server" }, ["node"], "small letters"],
    [{ name: "epoll" }, ["node"], "name of an experiment"],
    [{ name: "mine" }, null, "one of the two"],
    [{ name: "mine", url: "http://127.0.0.1:1" }, ["node"], "one of the two"],
    [{ name: "mine", url: "http://192.0.2.1:80" }, null, "load goes to this machine only"],
    [{ name: "mine", url: "http://127.0.0.5:80" }, null, "load goes to this machine only"],
    [{ name: "studies" }, ["node"], "folder of results/"],
    [{ name: "mine", url: "https://127.0.0.1" }, null, "TLS is not supported"],
    [{ name: "mine", url: "ftp://127.0.0.1" }, null, "no http:// address"],
    [{ name: "mine", url: "http://127.0.0.1/x", path: "/y" }, null, "--path belongs to a command"],
    [{ name: "mine", path: "healthz" }, ["node"], "--path healthz is no path"],
    [{ name: "mine", path: "/a b" }, ["node"], "--path /a b is no path"],
    [{ name: "mine", pid: "1" }, ["node"], "--pid belongs to --url"],
    [{ name: "mine", url: "http://127.0.0.1", pid: "x" }, null, "--pid x"],
    [{ name: "mine", url: "http://127.0.0.1", port: "1" }, null, "--port belongs to a command"],
  ];
  for (const [flags, words, message] of cases) {
    assertThrows(() => readCustom(flags, words, ["epoll"]), UsageError, message);
  }
});
