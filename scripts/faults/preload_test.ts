import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { isInstalled } from "../../lib/catalogue/tools.ts";
import { temporaryFolder } from "../../lib/cli/temporary_folder.ts";
import { processTree } from "../../lib/sampling/process.ts";
import { readProc } from "../../lib/sampling/procfs.ts";
import type { CustomServer } from "../../lib/server/subject.ts";
import { PATIENCE_MS, until } from "../../lib/testing/client.ts";
import { atStandstill, connectionsOf, serverTree } from "./by_kernel.ts";
import { settledCell } from "./cell.ts";
import { withoutExcused } from "./excused.ts";
import { PAGE_BYTES } from "./preload.ts";

const ignore = Deno.build.os !== "linux";
const hasCompiler = !ignore && await isInstalled("cc");
const SEED = 1;
const { signal } = new AbortController();

/** A server with a process for each connection. It asks for the time at each request, and goes on at EINTR. */
const SERVER = String.raw`
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
static void serve(int fd) {
  char head[4096];
  size_t length = 0;
  for (;;) {
    ssize_t got = read(fd, head + length, sizeof head - 1 - length);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) _exit(0);
    head[length += got] = 0;
    if (strstr(head, "\r\n\r\n") == NULL) continue;
    if (time(NULL) == 0 || write(fd, ANSWER, sizeof ANSWER - 1) < 0) _exit(0);
    length = 0;
  }
}
int main(void) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(getenv("PORT")))};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4096) != 0) return 1;
  signal(SIGCHLD, SIG_IGN);
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd >= 0 && fork() == 0) serve(fd);
    if (fd >= 0) close(fd);
  }
}
`;

/** Builds the server in a folder. */
function build(folder: string, name: string, ...flags: string[]): CustomServer {
  const [source, program] = [join(folder, "server.c"), join(folder, name)];
  Deno.writeTextFileSync(source, SERVER);
  const { success, stderr } = new Deno.Command("cc", { args: ["-O2", ...flags, "-o", program, source] }).outputSync();
  assert(success, new TextDecoder().decode(stderr));
  return { name, family: "custom", words: [program], host: null, port: null, pid: null };
}

Deno.test({
  name: "a server that is linked statically is skipped, since nothing stands before its libc; else it is not",
  ignore: !hasCompiler,
  fn: async () => {
    using folder = temporaryFolder();
    const [reached, unreached] = [build(folder.path, "dynamic"), build(folder.path, "static", "-static")];
    for (const fault of ["clock-stepped", "eintr-storm", "accept-errors"]) {
      const sound = await settledCell(reached, { id: fault }, SEED, signal);
      assert(sound.verdict !== "skipped" && sound.owed > 0, JSON.stringify(sound));
      const skipped = await settledCell(unreached, { id: fault }, SEED, signal);
      assertEquals(skipped.verdict, "skipped", JSON.stringify(skipped));
      assertMatch(skipped.reason!, /through libc/);
    }
  },
});

Deno.test({
  name: "a server that writes nothing is skipped where its disk is full",
  ignore: !hasCompiler || Deno.uid() !== 0, // a disk of its own needs root
  fn: async () => {
    using folder = temporaryFolder();
    const row = await settledCell(build(folder.path, "silent"), { id: "disk-full" }, SEED, signal);
    assertEquals(row.verdict, "skipped", JSON.stringify(row));
    assertMatch(row.reason!, /writes nothing/);
  },
});

Deno.test("the page has the size that interpose.c asserts", () => {
  const source = Deno.readTextFileSync(join(import.meta.dirname!, "interpose.c"));
  assertEquals(/sizeof\(struct page\) == (\d+)/.exec(source)?.[1], String(PAGE_BYTES));
});

/** Whether a process is stopped. */
const isStopped = (pid: number): boolean => /\) T /.test(readProc(`/proc/${pid}/stat`));

/** A launcher with two processes below it. */
function launch(): AsyncDisposable & { leader: number } {
  const child = new Deno.Command("sh", { args: ["-c", "sleep 60 & sleep 60 & wait"], stdin: "null" }).spawn();
  return {
    leader: child.pid,
    async [Symbol.asyncDispose]() {
      for (const pid of processTree(child.pid) ?? []) Deno.kill(pid, "SIGKILL");
      await child.status;
    },
  };
}

/** The processes below a launcher, once there are two. */
async function below(leader: number): Promise<number[]> {
  const others = () => processTree(leader)!.filter((pid) => pid !== leader);
  await until(() => others().length === 2, PATIENCE_MS, "two processes below the launcher");
  return others();
}

Deno.test({
  name: "what stands beside the root of a server belongs to it, and stands still with it; its launcher does not",
  ignore,
  fn: async () => {
    await using launched = launch();
    const { leader } = launched;
    const [pid, beside] = await below(leader);
    const server = { pid: pid!, leader };
    assertEquals(serverTree(server), [pid, beside]);
    assertEquals(serverTree({ pid: leader, leader }), [leader, pid, beside]);
    await atStandstill(server, () => assertEquals([pid!, beside!, leader].map(isStopped), [true, true, false]));
    assertEquals([pid!, beside!].map(isStopped), [false, false]);
  },
});

Deno.test({
  name: "an error while a server stands still leaves it running",
  ignore,
  fn: async () => {
    await using launched = launch();
    const { leader: pid } = launched;
    const tree = [pid, ...await below(pid)];
    const fails = () => {
      assert(tree.every(isStopped));
      throw new Error("meanwhile");
    };
    await assertRejects(() => atStandstill({ pid }, fails), Error, "meanwhile");
    assertEquals(tree.filter(isStopped), []);
  },
});

Deno.test({
  name: "the connections of a process are those with clients of its port",
  ignore,
  fn: async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    using stack = new DisposableStack();
    for (let i = 0; i < 3; i++) {
      stack.use(await Deno.connect({ hostname: "127.0.0.1", port })); // this end has another local port
      stack.use(await listener.accept());
    }
    assertEquals([connectionsOf(Deno.pid, port), connectionsOf(Deno.pid, port + 1)], [3, 0]);
  },
});

Deno.test("a connection that is gone excuses one request without an answer, and no more", () => {
  const [answered, first, second] = [[1, 5], [2, null], [3, null]] as [number, number | null][];
  const asked = [answered!, first!, second!];
  assertEquals(withoutExcused(asked, 0), asked);
  assertEquals(withoutExcused(asked, 1), [answered, second]);
  assertEquals(withoutExcused(asked, 5), [answered]);
});
