import { assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { find } from "../../lib/catalogue/catalogue.ts";
import { processTree } from "../../lib/sampling/process.ts";
import { obstacleTo } from "../../lib/catalogue/tools.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const { command } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`)).tasks.live as { command: string };

/** The command, with the permissions of its task. */
const live = (...args: string[]) =>
  new Deno.Command(Deno.execPath(), {
    args: [...command.split(" ").slice(1), ...args],
    cwd: ROOT,
    env: { NO_COLOR: "1", DISPLAY: "", WAYLAND_DISPLAY: "" },
    stdout: "piped",
    stderr: "piped",
  });

Deno.test("what cannot be shown is a usage error", async () => {
  for (
    const [args, sentence] of [
      [[], "Name one experiment"],
      [["epol"], "Unknown experiment epol. Did you mean epoll?"],
      [["epoll", "--connections", "0"], "--connections 0 is not a whole number from 1 to "],
      [["epoll", "poll", "select"], "Name one experiment, or two to see them side by side"],
      [["epoll", "ws-epoll"], "ws-epoll speaks WebSocket: it is shown alone, with a page to chat by."],
      [["ws-epoll", "--rate", "5"], "--rate is for servers that answer HTTP requests."],
      [["epoll", "epoll"], "epoll is named twice: name another server."],
      [["epoll", "--rate", "0"], "--rate 0 is not a whole number from 1 to 100000"],
    ] as const
  ) {
    const { code, stdout, stderr } = await live(...args).output();
    assertEquals([code, stdout.length], [2, 0]);
    assertMatch(new TextDecoder().decode(stderr), new RegExp(`^${sentence}[^]*Help: deno task live --help`));
  }
});

Deno.test("a port that is in use is one sentence", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const { code, stderr } = await live("deno-serve", "--no-open", "--port", String(port)).output();
  const sentence = `Port ${port} is in use: name another one by --port, or leave it out.\n`;
  assertEquals([new TextDecoder().decode(stderr), code], [sentence, 70]);
});

const kqueue = await obstacleTo(find("kqueue"));
Deno.test({
  name: "what cannot run here is reported before there is a page",
  ignore: kqueue === null, // it runs here
  fn: async () => {
    await using child = live("kqueue", "--no-open").spawn();
    assertEquals((await child.stdout.getReader().read()).done, true, "no line names a page");
    assertEquals([await new Response(child.stderr).text(), (await child.status).code], [`${kqueue}\n`, 69]);
  },
});

Deno.test({
  name: "one line says where the page is; an interrupt tells the page, ends the run, and leaves nothing",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const before = processTree(Deno.pid)!.length;
    await using child = live("epoll", "--connections", "5", "--no-open").spawn();
    const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { value: line } = await lines.read();
    assertMatch(line!, /^epoll runs while this page is open: http:\/\/127\.0\.0\.1:\d+\/\n$/);
    const { body } = await fetch(`${line!.trim().split(" ").at(-1)}frames`);
    let seen = "";
    for await (const part of body!.pipeThrough(new TextDecoderStream())) {
      const isFirst = !seen.includes("event: round");
      seen += part; // a part may end within a word
      if (isFirst && seen.includes("event: round")) child.kill("SIGINT");
    }
    assertMatch(seen, /event: end\ndata: {"how":"stopped","sentence":"Stopped\."}/);
    assertEquals((await lines.read()).done, true, "and no other line");
    assertEquals([await new Response(child.stderr).text(), (await child.status).code], ["Stopped.\n", 130]);
    assertEquals(processTree(Deno.pid)!.length, before);
  },
});
