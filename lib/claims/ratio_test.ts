import { assertEquals } from "@std/assert";
import type { Found } from "../results/findings.ts";
import { compared, found, storedOf } from "../testing/fixtures.ts";
import { atFullLoad } from "./parts.ts";
import { type Asked, directIn, viaThirdIn } from "./ratio.ts";

const CPU = ["throughput", 100, "cpu_us_per_request"] as const;
const ASKED: Asked = { scenario: CPU[0], connections: CPU[1], metric: CPU[2], of: "c-threads", to: "c-epoll" };

const rows = (reference: string, ...servers: [name: string, findings: Found[]][]) =>
  storedOf(...servers.map(([name, findings]) => compared([...CPU], [name, reference], [2, 1.9, 2.1], { findings })))
    .studies.comparison[0]!.rows;

Deno.test("a ratio knows that the load generator was at its limit beside one of the two, also by way of a third", () => {
  const bound = (server: string) => [found(server, "client_bound")];
  const direct = (findings: Found[]) => directIn(rows("c-epoll", ["c-threads", findings]), ASKED)!;
  const limits = [[], bound("c-threads"), bound("c-epoll"), [found("c-epoll", "both_bound")], bound("nginx")];
  assertEquals(limits.map((findings) => direct(findings).limited), [false, true, true, false, false]);
  const third = viaThirdIn(rows("nginx", ["c-threads", []], ["c-epoll", bound("c-epoll")]), ASKED)!;
  assertEquals([third.limited, third.isVoid], [true, false]);
  assertEquals(atFullLoad(direct([])), "");
  assertEquals(atFullLoad(third), "; the load generator was the limit: not full load");
});
