import { assertEquals, assertStringIncludes } from "@std/assert";
import { type Sample } from "../sampling/sampler.ts";
import { areOwnSockets, mainCause } from "./hold.ts";

Deno.test("a lack of ports at this end is called that, and not by what the server did", () => {
  const says = mainCause({ EADDRNOTAVAIL: 4000, ECONNRESET: 3 }, 0);
  assertEquals(says, "found no free port at this end: widen net.ipv4.ip_local_port_range");
  assertEquals(mainCause({ EADDRNOTAVAIL: 4000 }, 1000), says);
});

Deno.test("most of the connections that failed give the cause: a status, an answer that cannot be followed, or an end", () => {
  assertEquals(mainCause({ http_302: 7, closed: 2 }, 1), "were answered by status 302");
  assertStringIncludes(mainCause({ surplus_bytes: 2, http_503: 1 }, 0), "bytes behind their answer");
  assertEquals(mainCause({ EMFILE: 3 }, 0), "failed: EMFILE");
  assertEquals(mainCause({ closed: 2 }, 3), "were closed after their answer: nothing is kept alive");
  assertEquals(mainCause({}, 0), "got no answer");
});

Deno.test("memory of the kernel counts only where about as many sockets were made as the connections have", () => {
  const at = (sockets: number | null, descriptors = 0) => ({
    ...{ held: 0, kernel: 0, sockets },
    sample: { descriptors } as Sample,
  });
  const low = at(2000, 1010);
  assertEquals(areOwnSockets(low, at(20_000, 10_010), 9000), true);
  assertEquals(areOwnSockets(low, at(29_000, 10_010), 9000), false); // others have opened 9 000
  assertEquals(areOwnSockets(low, at(11_000, 10_010), 9000), false); // or closed them
  assertEquals(areOwnSockets(low, at(29_000, 19_010), 9000), true); // a proxy has one more for each
  assertEquals(areOwnSockets(low, at(20_000, 37_010), 9000), true); // what has pipes for each has no more sockets
  assertEquals(areOwnSockets(at(null), at(null), 9000), true); // not known
});
