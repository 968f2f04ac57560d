import { assertEquals } from "@std/assert";
import { evidenceOf, foreignIn, generatorShare, loadCoresLeft, sharedCoreOf, stealIn } from "./evidence.ts";
import type { Cpu } from "../sampling/cores.ts";
import type { CoreTimes, Slice, Window } from "../load/generator.ts";

const NONE = { busy_us: 0, irq_us: 0, softirq_us: 0, steal_us: 0, total_us: 0 };
const core = (cpu: number, side: "server" | "client" | "both"): CoreTimes => ({
  ...{ ...NONE, cpu },
  server: side !== "client",
  client: side !== "server",
});
const cpu = (id: number, siblings = [id]): Cpu => ({ id, siblings, package: 0, capacity: null });

Deno.test("a core that both sides run on is found, and so are two hardware threads of one", () => {
  const apart = [{ cores: [core(0, "server"), core(1, "client")] }];
  assertEquals(sharedCoreOf(apart, [cpu(0), cpu(1)]), null);
  assertEquals(sharedCoreOf(apart, [cpu(0, [0, 1]), cpu(1, [0, 1])]), "siblings");
  assertEquals(sharedCoreOf(apart, [cpu(0, [0, 2]), cpu(1, [1, 3])]), null);
  assertEquals(sharedCoreOf([{ cores: [core(1, "both")] }], [cpu(0), cpu(1)]), "core");
});

Deno.test("with one core to run on both share it, pinned or not; with several it is not known where none is pinned", () => {
  assertEquals(sharedCoreOf([{ cores: [] }], [cpu(3)]), "core");
  assertEquals(sharedCoreOf([{ cores: [] }], [cpu(0), cpu(1)]), null);
  assertEquals(sharedCoreOf([], []), null);
});

Deno.test("the share of the load generator is that of its busiest process over all windows", () => {
  const window = (...client_busy_us: number[]) => ({ client_busy_us, seconds: 1, cores: [] });
  assertEquals(generatorShare([window(950_000, 50_000, 50_000, 50_000)]), 0.95); // a mean would be 0.275
  assertEquals(generatorShare([window(900_000, 100_000), window(100_000, 500_000)]), 0.5);
  assertEquals(generatorShare([]), null);
  assertEquals(generatorShare([{ client_busy_us: [], seconds: 0, cores: [] }]), null);
});

Deno.test("spinning until a request is due makes no load generator full, also where interrupts are counted apart", () => {
  const window = (client_busy_us: number, softirq_us: number, others_us = 0) => ({
    client_busy_us: [client_busy_us, others_us],
    seconds: 1,
    cores: [
      { ...core(0, "server"), busy_us: 1e6, softirq_us: 900_000, total_us: 1e6 },
      { ...core(1, "client"), busy_us: 1e6, softirq_us, total_us: 1e6 }, // it spun whenever it had nothing to do
    ],
  });
  assertEquals(generatorShare([window(300_000, 200_000)], true), 0.5);
  assertEquals(generatorShare([window(300_000, 200_000)]), 0.3); // they are in the time of the process
  assertEquals(generatorShare([window(300_000, 200_000), window(500_000, 400_000)], true), 0.7);
  assertEquals(generatorShare([window(750_000, 250_000, 100_000)], true), 1);
  assertEquals(generatorShare([window(900_000, 200_000)], true), 1);
  assertEquals(generatorShare([{ ...window(300_000, 0), cores: [] }], true), 0.3); // pinned to none
});

Deno.test("interrupts of one core of the load make no process full that runs on another", () => {
  const on = (cpu: number, softirq_us: number) => ({ ...core(cpu, "client"), softirq_us, total_us: 1e6 });
  const cores = [{ ...core(0, "server"), softirq_us: 900_000, total_us: 1e6 }, on(1, 0), on(2, 600_000)];
  const share = (...client_busy_us: number[]) => generatorShare([{ client_busy_us, seconds: 1, cores }], true);
  assertEquals(share(750_000, 125_000), 0.75);
  assertEquals(share(0, 250_000), 0.85);
  assertEquals(share(750_000, 500_000), 1);
});

Deno.test("cores of the load are left where fewer processes took part; where none is pinned it is not known", () => {
  const cores = [core(0, "server"), core(1, "client"), core(2, "client"), core(3, "client")];
  assertEquals(loadCoresLeft([{ cores, client_processes: 1 }]), 2);
  assertEquals(loadCoresLeft([{ cores, client_processes: 3 }]), 0);
  assertEquals(loadCoresLeft([{ cores: [core(0, "server")], client_processes: 8 }]), null);
});

Deno.test("a burst of others in one window of many is found, and less than that is a part of the mean", () => {
  /** Half a second, in which others used so much of the server's core; on the load's core nobody else ran. */
  const slice = (foreign: number) => ({
    cores: [
      { ...core(0, "server"), busy_us: 200_000 + 500_000 * foreign, total_us: 500_000 },
      { ...core(1, "client"), busy_us: 100_000, total_us: 500_000 },
    ],
    own_cpu: { server_us: 200_000, client_us: 100_000 },
    host_cpu: null,
  });
  const among = (foreign: number) => [...Array.from({ length: 15 }, () => slice(0)), slice(foreign)];
  assertEquals(foreignIn(among(0), false), { all: 0, burst: null });
  assertEquals(foreignIn(among(0.4), false), { all: 0.025, burst: null });
  assertEquals(foreignIn(among(0.6), false).burst, 0.6);
  assertEquals(foreignIn([slice(0.3), slice(0.3)], false), { all: 0.3, burst: null });
  assertEquals(foreignIn([slice(0.6)], false), { all: 0.6, burst: null }); // all of it is no burst
  assertEquals(foreignIn([], false), { all: null, burst: null });
  const unpinned = {
    cores: [],
    own_cpu: { server_us: 0, client_us: 0 },
    host_cpu: { ...NONE, busy_us: 7, total_us: 10 },
  };
  const idle = { ...unpinned, host_cpu: { ...NONE, total_us: 90 } };
  assertEquals(foreignIn([unpinned, idle], false).burst, 0.7);
});

Deno.test("a burst of others within one long window is found in its slices, and so is one of other guests", () => {
  const stretch = (seconds: number, foreign: number, steal = 0) => ({
    cores: [{
      ...core(0, "server"),
      busy_us: seconds * 400_000 + 500_000 * foreign,
      steal_us: 500_000 * steal,
      total_us: seconds * 1e6,
    }],
    own_cpu: { server_us: seconds * 400_000, client_us: 0 },
    host_cpu: null,
  });
  const slices = (...last: [foreign: number, steal?: number]) => [
    ...Array.from({ length: 19 }, () => stretch(0.5, 0)),
    stretch(0.5, ...last),
  ];
  const foreign = (share: number, of = slices(share)) => foreignIn([{ ...stretch(10, share), slices: of }], false);
  assertEquals([foreign(0.6), foreign(0.4)], [{ all: 0.03, burst: 0.6 }, { all: 0.02, burst: null }]);
  assertEquals(foreign(0.6, []), { all: 0.03, burst: null }); // nothing is known of its slices
  const stolen = (share: number) => stealIn([{ ...stretch(10, 0, share), slices: slices(0, share) }]);
  assertEquals([stolen(0.6), stolen(0.4)], [{ all: 0.03, burst: 0.6 }, { all: 0.02, burst: null }]);
  assertEquals(stealIn([]), { all: null, burst: null });
});

Deno.test("strangers and other guests take shares of their own from a window, and each has a mean and a worst stretch", () => {
  const stretch = (seconds: number, foreign_us: number, steal_us: number): Slice => ({
    cores: [{ ...core(0, "server"), busy_us: foreign_us, steal_us, total_us: seconds * 1e6 }],
    own_cpu: { server_us: 0, client_us: 0 },
    host_cpu: null,
  });
  const slices = [
    stretch(0.5, 300_000, 0),
    stretch(0.5, 0, 400_000),
    ...Array.from({ length: 18 }, () => stretch(0.5, 0, 0)),
  ];
  const rest = {
    requests: 1,
    client_busy_us: [],
    client_processes: 0,
    lateness: null,
    reconnects: 0,
    closes_after: null,
  };
  const window = { ...stretch(10, 300_000, 400_000), ...rest, seconds: 10, slices } as unknown as Window;
  const { foreignShare, foreignBurst, stealShare, stealBurst } = evidenceOf([window]);
  assertEquals([foreignShare, foreignBurst, stealShare, stealBurst], [0.03, 0.6, 0.04, 0.8]);
});

Deno.test("a server that may use all cores is no stranger on those of the load", () => {
  const window = (server: boolean, server_us: number | null) => ({
    cores: [0, 1].map((cpu) => ({
      ...core(cpu, "client"),
      server,
      busy_us: 950_000,
      softirq_us: 100_000,
      total_us: 1e6,
    })),
    own_cpu: { server_us, client_us: 200_000 },
    host_cpu: { ...NONE, busy_us: 1_900_000, softirq_us: 200_000, total_us: 2e6 },
  });
  assertEquals(foreignIn([window(false, 1_600_000)], false).all, 0.05);
  assertEquals(foreignIn([window(true, 1_600_000)], false).all, 0.05);
  assertEquals(foreignIn([window(false, 1_400_000)], true).all, 0.05); // no process clock has the interrupts
  assertEquals(foreignIn([window(false, null)], false).all, 0.85); // of no server here is anything known
});

Deno.test("a load that may use all cores is no stranger on that of the server", () => {
  const cores = [{ ...core(0, "server"), busy_us: 800_000, total_us: 1e6 }];
  const host_cpu = { ...NONE, busy_us: 1_000_000, total_us: 2e6 };
  const foreign = (client_us: number) =>
    foreignIn([{ cores, own_cpu: { server_us: 500_000, client_us }, host_cpu }], false).all;
  assertEquals(foreign(400_000), 0.05);
  assertEquals(foreign(0), 0.3); // it is on other hosts
});
