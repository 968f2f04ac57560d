import { assert, assertEquals } from "@std/assert";
import { find } from "./catalogue.ts";
import { isInstalled } from "./tools.ts";
import { callsOfOne, trace } from "./trace.ts";

const CAPTURED = `
7 epoll_wait(3, [{events=EPOLLIN}], 64, 50) = 1
7 recvfrom(9, "GET / HTTP/1.1\\r\\n", 1024, 0, NULL, NULL) = 30
7 sendto(9, "HTTP/1.1 200 OK", 50, 0, NULL, 0) = 50
7 epoll_wait(3,  <unfinished ...>
8 read(4, "", 8)              = 0
7 <... epoll_wait resumed>[{events=EPOLLIN}], 64, 50) = 1
7 recvfrom(9, "GET / HTTP/1.1\\r\\n", 1024, 0, NULL, NULL) = 30
7 sendto(9, "HTTP/1.1 200 OK", 50, 0, NULL, 0) = 50
`;

Deno.test("one request's calls are those of its thread until the next request; halves are put together", () => {
  assertEquals(callsOfOne(CAPTURED), [
    'recvfrom(9, "GET / HTTP/1.1\\r\\n", 1024, 0, NULL, NULL) = 30',
    'sendto(9, "HTTP/1.1 200 OK", 50, 0, NULL, 0) = 50',
    "epoll_wait(3, [{events=EPOLLIN}], 64, 50) = 1",
  ]);
  assertEquals(callsOfOne("7 epoll_wait(3, [], 64, 50) = 0\n"), null);
});

Deno.test({
  name: "epoll receives, sends and waits for each request, and nothing else",
  ignore: Deno.build.os !== "linux" || !await isInstalled("strace"),
  fn: async () => {
    const names = (await trace(find("epoll"))).map((line) => line.split("(")[0]!);
    assertEquals([...new Set(names)], ["recvfrom", "sendto", "epoll_wait"], names.join());
    assert(names.filter((name) => name === "recvfrom").length === 1);
  },
});
