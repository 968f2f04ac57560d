import { assertEquals, assertStringIncludes } from "@std/assert";
import { mainCause } from "./hold.ts";

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
