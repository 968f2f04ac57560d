import { assert, assertEquals } from "@std/assert";
import { find } from "../catalogue/catalogue.ts";
import { isInstalled } from "../catalogue/tools.ts";
import { callsOfOne, trace } from "./strace.ts";

const CAPTURED = `
7 epoll_wait(3, [{events=EPOLLIN}], 64, 50) = 1
7 recvfrom(9, "GET / HTTP/1.1\\r\\nHost: lab", 1024, 0, NULL, NULL) = 30
7 sendto(9, "HTTP/1.1 200 OK", 50, 0, NULL, 0) = 50
7 epoll_wait(3,  <unfinished ...>
8 read(4, "", 8)              = 0
7 <... epoll_wait resumed>[{events=EPOLLIN}], 64, 50) = 1
7 recvfrom(9, "GET / HTTP/1.1\\r\\nHost: lab", 1024, 0, NULL, NULL) = 30
7 sendto(9, "HTTP/1.1 200 OK", 50, 0, NULL, 0) = 50
`;

Deno.test("one request's calls are those of its thread until the next request; halves are put together", () => {
  assertEquals(callsOfOne(CAPTURED), [
    'recvfrom(9, "GET / HTTP/1.1\\r\\nHost: lab", 1024, 0, NULL, NULL) = 30',
    'sendto(9, "HTTP/1.1 200 OK", 50, 0, NULL, 0) = 50',
    "epoll_wait(3, [{events=EPOLLIN}], 64, 50) = 1",
  ]);
  assertEquals(callsOfOne("7 epoll_wait(3, [], 64, 50) = 0\n"), null);
});

Deno.test("what a launcher asks its peer is no request, neither where it is sent nor where it is received", () => {
  const launcher = '5 sendto(4, "GET / HTTP/1.0\\r\\n", 18, 0, NULL, 0) = 18\n';
  assertEquals(callsOfOne(launcher.repeat(3)), null);
  const answered = '7 recvfrom(6, "GET / HTTP/1.0\\r\\n", 1024, 0, NULL, NULL) = 18\n';
  assertEquals(callsOfOne(launcher + CAPTURED.trim() + "\n" + answered)!.length, 3);
  const vectors =
    '7 recvmsg(9, {msg_iov=[{iov_base="GET / HTTP/1.1\\r\\nHost: lab"}]}, 0) = 30\n7 writev(9, [], 1) = 50\n';
  assertEquals(callsOfOne(vectors.repeat(2))!.map((line) => line.split("(")[0]), ["recvmsg", "writev"]);
});

Deno.test({
  name: "node answers by writev, and it is seen",
  ignore: Deno.build.os !== "linux" || !await isInstalled("strace") || !await isInstalled("node"),
  fn: async () => {
    const names = (await trace(find("node-http"))).map((line) => line.split("(")[0]!);
    assert(["read", "writev"].every((name) => names.includes(name)), names.join());
  },
});

/** What V8 does whenever it likes: its threads compile and collect garbage, and wake each other. */
const OF_V8 = ["futex", "madvise", "mmap", "mprotect", "munmap", "sched_yield"];
const MOST_TRACES = 5; // now and then the runtime makes a thread in the middle of a request

Deno.test({
  name: "epoll receives, sends and waits for each request, and nothing else",
  ignore: Deno.build.os !== "linux" || !await isInstalled("strace"),
  fn: async () => {
    const own = ["recvfrom", "sendto", "epoll_wait"];
    const seen: string[][] = [];
    const isBare = (names: readonly string[] = []) => new Set(names).size === own.length;
    while (!isBare(seen.at(-1)) && seen.length < MOST_TRACES) {
      const all = (await trace(find("epoll"))).map((line) => line.split("(")[0]!);
      const names = all.filter((name) => !OF_V8.includes(name));
      assertEquals([...new Set(names.filter((name) => own.includes(name)))], own, names.join());
      assertEquals(names.filter((name) => name === "recvfrom").length, 1, names.join());
      seen.push(names);
    }
    assert(isBare(seen.at(-1)), seen.join("\n"));
  },
});
