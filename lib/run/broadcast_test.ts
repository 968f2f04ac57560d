/** The scenario of servers that push. */
import { assert, assertEquals, assertGreater, assertLess, assertThrows } from "@std/assert";
import { find } from "../catalogue/catalogue.ts";
import { UsageError } from "../cli/errors.ts";
import { compare } from "../compare/compare.ts";
import { readCustom } from "../server/custom.ts";
import { newResult } from "../results/results.ts";
import { hostFacts } from "../sampling/host.ts";
import { broadcasts } from "../tables/overview.ts";
import { conclude, describe } from "../tables/runs.ts";
import { createGuard, DESCRIPTOR_RESERVE, Guard } from "./guard.ts";
import { ladder, type MeasureOptions } from "./ladder.ts";
import { fitting } from "./measure.ts";
import { runStep } from "./step.ts";

const ignore = Deno.build.os !== "linux";
const signal = new AbortController().signal;
const WISH: MeasureOptions = {
  quick: false,
  scenarios: null,
  connections: null,
  seconds: null,
  rate: null,
  slow: null,
  bytes: null,
};
const PLAN = { rate_per_s: 50, message_bytes: 128, seconds: 0.4, warmup_seconds: 0.2 };

const run = (
  name: string,
  connections: number,
  more: { slow?: number; message_bytes?: number } = {},
  guard = createGuard(),
) =>
  runStep({
    experiment: find(name),
    host: hostFacts(),
    step: { scenario: "broadcast", parameters: { ...PLAN, connections, ...more } },
    guard,
    signal,
    onProgress: () => {},
  });

Deno.test("a broadcast is stored with its results, and printed as a table and a sentence", { ignore }, async () => {
  const result = await run("ws-epoll", 30, { slow: 2, message_bytes: 200 });
  const { ended, reason, metrics, command, histogram } = result;
  assertEquals([ended, reason], ["ok", null]);
  assertEquals([metrics.connections, metrics.messages, metrics.answered, metrics.delivered_share], [30, 20, 600, 1]);
  assertEquals([metrics.requests_per_s, metrics.cpu_us_per_request], [null, null]);
  assertGreater(metrics.cpu_us_per_delivery!, 0);
  assert(metrics.last_p50_us! >= metrics.p50_us! && metrics.last_p99_us! >= metrics.last_p50_us!);
  assertLess(metrics.deliveries_per_s!, 1600); // 30 listeners, 50 messages/s; on a busy machine the last one comes late
  assertGreater(metrics.deliveries_per_s!, 100);
  assert(histogram !== null);
  assertEquals(
    command,
    "deno task exp ws-epoll --scenario broadcast --connections 30 --seconds 0.4 --rate 50 --slow 2 --bytes 200",
  );
  assert(describe([result]).includes("teners"), describe([result]));
  assert(conclude("ws-epoll", [result]).startsWith("ws-epoll: delivered 100 % to 30 listeners, "));
  const stored = broadcasts([find("ws-epoll")], [result, { ...result, parameters: { ...PLAN, connections: 30 } }]);
  assertEquals(stored.split("\n").filter((line) => line.startsWith("| ws-epoll")).length, 1);
});

Deno.test("where fewer listen than were asked for, what is due is due to those", { ignore }, async () => {
  const few = new Guard({ memAvailableBytes: 4e9, descriptorLimit: DESCRIPTOR_RESERVE + 20 });
  const result = await run("ws-epoll", 1000, {}, few);
  const { ended, reason, metrics, findings } = result;
  assert(describe([result]).includes("20 of 1 000"), describe([result]));
  assertEquals(ended, "limited");
  assert(reason!.startsWith("stopped at 20 of 1 000"), String(reason));
  assertEquals([metrics.connections, metrics.delivered_share], [20, 1]);
  // A busy machine may fall behind 20 listeners, whose deliveries are 1 000/s; of 1 000 they would be 50 000.
  const bound = findings.find(({ id }) => id === "server_bound");
  assert(!bound?.sentence.includes("50 000"), bound?.sentence);
});

Deno.test("a server that does not speak WebSocket opens no listener, and the run says why", { ignore }, async () => {
  const { ended, reason } = await run("epoll", 5);
  assertEquals([ended, reason], ["limited", "1 of 1 listeners were answered by status 200"]);
});

Deno.test("servers are compared by the cost of a delivery", { ignore }, async () => {
  const plan = { connections: 20, seconds: 0.3, slices: 2, rounds: 1, settleSeconds: 1, heavy: null, signal };
  const { rows, failures } = await compare(find("ws-epoll"), [find("ws-io-uring")], {
    ...plan,
    scenario: "broadcast",
    ratePerS: 200,
  });
  assertEquals(failures, []);
  const metrics = rows.map(({ metric }) => metric);
  assertEquals(metrics.slice(0, 4), ["cpu_us_per_delivery", "p50_us", "p99_us", "last_p50_us"]);
  assert(rows.slice(0, 4).every(({ ratio }) => ratio! > 0));
});

Deno.test("a server is asked for what it speaks", () => {
  const [push, http] = [find("ws-epoll"), find("epoll")];
  const own = { name: "mine", family: "custom", host: "127.0.0.1", port: 1, pid: null, words: null } as const;
  assertEquals(fitting(push, WISH).scenarios, ["broadcast"]);
  assertEquals(fitting(http, WISH).scenarios, null);
  assertEquals(fitting(own, { ...WISH, scenarios: ["broadcast"], slow: 3 }).slow, 3);
  const wrong: [typeof push | typeof own, Partial<MeasureOptions>][] = [
    [push, { scenarios: ["hold"] }],
    [http, { scenarios: ["broadcast"] }],
    [own, { scenarios: ["hold", "broadcast"] }],
    [http, { slow: 3 }],
  ];
  for (const [subject, wish] of wrong) assertThrows(() => fitting(subject, { ...WISH, ...wish }), UsageError);
});

Deno.test("a broadcast climbs until it breaks, at ten messages per second", async () => {
  const asked: [number, number | undefined][] = [];
  const steps = ladder(fitting(find("ws-epoll"), WISH), ({ scenario, parameters }) => {
    const { connections, rate_per_s } = parameters;
    asked.push([connections, rate_per_s]);
    const ended = connections < 1000 ? "ok" : "limited";
    const run = {
      experiment: "ws-epoll",
      family: "push",
      host: hostFacts(),
      histogram: null,
      findings: [],
      command: "",
    };
    return Promise.resolve(newResult({ ...run, scenario, parameters, metrics: {}, ended, reason: null }));
  }, createGuard());
  for await (const _ of steps) { /* the steps are what counts */ }
  assertEquals(asked, [[10, 10], [100, 10], [1000, 10]]);
});

const slowPlan = {
  connections: 20,
  seconds: 0.3,
  slices: 2,
  rounds: 1,
  settleSeconds: 1,
  heavy: null,
  signal,
} as const;

Deno.test("a server is compared with itself beside listeners that do not read", { ignore }, async () => {
  const reference = find("ws-epoll"), beside = { ...reference, name: "ws-epoll beside 5 slow" };
  const plan = { ...slowPlan, scenario: "broadcast", ratePerS: 50, slow: 5, bytes: 1000 } as const;
  const { rows, failures } = await compare(reference, [beside], plan);
  assertEquals(failures, []);
  const p99 = rows.find(({ metric }) => metric === "p99_us")!;
  assertEquals([p99.reference, p99.candidate], ["ws-epoll", "ws-epoll beside 5 slow"]);
  assertGreater(p99.rounds, 0); // a second one where others disturb the first
  assertEquals([p99.slow, p99.message_bytes], [5, 1000]);
  assertGreater(p99.ratio!, 0);
});

/** A server of somebody's own: it sends each text to all. */
const OWN = `
  const all = new Set();
  Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")), onListen() {} }, (request) => {
    if (request.headers.get("upgrade") !== "websocket") return new Response("no WebSocket");
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.onopen = () => all.add(socket);
    socket.onclose = () => all.delete(socket);
    socket.onmessage = ({ data }) => {
      for (const one of all) if (READS_ALL || one !== socket) one.send(data);
    };
    return response;
  });`;
const ownServer = (readsAll: boolean) =>
  readCustom({ name: "mine" }, [
    ...[Deno.execPath(), "eval", "--no-lock"],
    OWN.replace("READS_ALL", String(readsAll)),
  ], []);

Deno.test("a server of one's own is measured by broadcasts, and one that leaves out a listener is found out", {
  ignore,
}, async () => {
  const step = { scenario: "broadcast", parameters: { ...PLAN, connections: 10 } } as const;
  const rest = { host: hostFacts(), step, guard: createGuard(), signal, onProgress: () => {} };
  const right = await runStep({ experiment: ownServer(true), ...rest });
  assertEquals([right.ended, right.metrics.delivered_share, right.metrics.messages], ["ok", 1, 20]);
  assertGreater(right.metrics.cpu_us_per_delivery!, 0);
  const wrong = await runStep({ experiment: ownServer(false), ...rest });
  assertEquals([wrong.ended, wrong.metrics.delivered_share], ["limited", 0.9]);
  assertEquals(wrong.reason, "20 of 200 deliveries did not come");
});
