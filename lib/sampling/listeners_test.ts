import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { listeners, listenersOf, ownerOf, parseListeners, parseUnixListeners } from "./listeners.ts";

const ignore = Deno.build.os !== "linux";

Deno.test("listening sockets are read from the tables of IPv4 and IPv6, and other states are passed over", () => {
  const four = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 100 0 0 10 0
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4713 1 0000000000000000 20 4 30 10 -1
`;
  assertEquals(parseListeners(four), [
    { host: "127.0.0.1", port: 8080, inode: "4711" },
    { host: "0.0.0.0", port: 80, inode: "4712" },
  ]);
  const rest = "00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0";
  const six = `  sl  local_address                         remote_address  st
   0: 00000000000000000000000001000000:1F90 ${rest} 5 1 0 100 0 0 10 0
   1: 00000000000000000000000000000000:1F91 ${rest} 6 1 0 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:1F92 ${rest} 7 1 0 100 0 0 10 0
   3: B80D0120000000000000000001000000:1F93 ${rest} 8 1 0 100 0 0 10 0
`;
  assertEquals(parseListeners(six).map(({ host, port }) => [host, port]), [
    ["::1", 8080],
    ["::", 8081],
    ["127.0.0.1", 8082],
    ["2001:db8::1", 8083],
  ]);
  assertEquals(parseListeners(""), []);
});

Deno.test("a listening socket is found with its process, on both families", { ignore }, () => {
  for (const hostname of ["127.0.0.1", "::1"]) {
    using listener = Deno.listen({ hostname, port: 0 });
    const { port } = listener.addr;
    const [socket] = listeners()!.filter((each) => each.port === port);
    assertEquals(socket?.host, hostname);
    assertEquals(listenersOf([Deno.pid], [socket!]), [socket!]);
    assertEquals(listenersOf([], [socket!]), []);
    assertStringIncludes(ownerOf(socket!)!, `${Deno.pid} (`);
  }
});

Deno.test("a socket without a process has no owner, and a process that has ended has no sockets", { ignore }, () => {
  const absent = { host: "127.0.0.1", port: 1, inode: "0" };
  assertEquals(ownerOf(absent), null);
  assertEquals(listenersOf([2 ** 22], [absent]), []);
  assert(listeners() !== null);
});

Deno.test("listening Unix sockets are read with their paths, and connected ones are passed over", () => {
  const text = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 21 /run/a.sock
0000000000000000: 00000003 00000000 00000000 0001 03 22 /run/b.sock
0000000000000000: 00000002 00000000 00010000 0001 01 23 @abstract
`;
  assertEquals([...parseUnixListeners(text)], [["21", "/run/a.sock"], ["23", "@abstract"]]);
});
