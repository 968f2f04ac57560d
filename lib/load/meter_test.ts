import { assert, assertEquals } from "@std/assert";
import { coreSharesOf, interruptSharesOf, MAX_LOOKED_AT, Meter, type Reading, sharesOf } from "./meter.ts";
import { monotonicUs } from "../sampling/process.ts";
import type { CoreTimes, CpuTimes } from "./types.ts";

const ignore = Deno.build.os !== "linux";

/** A text of /proc/stat with two CPUs. Ticks: user, nice, system, idle, iowait, irq, softirq, steal. */
const stat = (first: readonly number[], second: readonly number[]) => {
  const all = first.map((ticks, i) => ticks + second[i]!);
  return [`cpu  ${all.join(" ")}`, `cpu0 ${first.join(" ")}`, `cpu1 ${second.join(" ")}`, "intr 1"].join("\n");
};
const IDLE = [0, 0, 0, 0, 0, 0, 0, 0];

const reading = (atUs: number, serverUs: number | null, text: string | null, clientUs = 0, kernelUs = 0): Reading => {
  const around = { stat: text, clientUs, kernelUs };
  return { first: around, last: around, serverUs, atUs, pids: [4711], endedUs: 0 };
};

const meter = new Meter(null, [], []);

Deno.test("the server's time is that under load between the readings, for the length of the window", () => {
  const span = { fromUs: 1e6, toUs: 2e6, loadFromUs: 0, loadToUs: 2.005e6 };
  // Both readings came 2 ms late, and the load went on: half a core in any stretch.
  const late = meter.between(reading(1.002e6, 1000, null), reading(2.002e6, 501_000, null), span);
  assertEquals(late.server_cpu_us, 500_000);
  // The second one came when the load was over: what it used until then belongs to the window and the tail.
  const over = meter.between(reading(1e6, 0, null), reading(2.5e6, 502_500, null), span);
  assertEquals(over.server_cpu_us, 500_000);
  // The first one came before the load began.
  const before = { ...span, loadFromUs: 1e6, loadToUs: 2e6 };
  assertEquals(meter.between(reading(0.9e6, 0, null), reading(2e6, 500_000, null), before).server_cpu_us, 500_000);
});

Deno.test("what the system does not tell is null", () => {
  const span = { fromUs: 0, toUs: 1e6, loadFromUs: 0, loadToUs: 1e6 };
  const { server_cpu_us, host_cpu, cores } = meter.between(reading(0, null, null), reading(1e6, 5, null), span);
  assertEquals([server_cpu_us, host_cpu, cores], [null, null, []]);
  assertEquals(meter.between(reading(0, 0, null), reading(0, 5, null), span).server_cpu_us, null);
});

Deno.test("the host and each pinned core have figures of their own, with interrupts and steal", { ignore }, () => {
  const pinned = new Meter(null, [], [1]);
  const from = reading(0, 0, stat(IDLE, IDLE));
  const to = reading(1e6, 0, stat([50, 0, 10, 20, 0, 5, 15, 0], [60, 0, 0, 10, 0, 0, 10, 20]), 700_000);
  const { host_cpu, cores, own_cpu } = pinned.between(from, to, { fromUs: 0, toUs: 1e6, loadFromUs: 0, loadToUs: 1e6 });
  assertEquals(host_cpu, { busy_us: 1.5e6, irq_us: 50_000, softirq_us: 250_000, steal_us: 200_000, total_us: 2e6 });
  assertEquals(cores, [{
    cpu: 1,
    server: false,
    client: true,
    busy_us: 700_000,
    irq_us: 0,
    softirq_us: 100_000,
    steal_us: 200_000,
    total_us: 1e6,
  }]);
  assertEquals(own_cpu.client_us, 700_000);
});

Deno.test("a meter finds the cores that the server is pinned to, and reads its own process", { ignore }, () => {
  const own = new Meter(Deno.pid, [Deno.pid], []);
  const reading = own.read();
  assert(reading.serverUs! > 0 && reading.first.clientUs > 0 && reading.last.clientUs >= reading.first.clientUs);
  assertEquals(reading.last.kernelUs, 0);
  const all = own.serverCpus.length;
  assert(all === 0 || all < navigator.hardwareConcurrency + 1);
});

const SPAN = { fromUs: 0, toUs: 1e6, loadFromUs: 0, loadToUs: 1e6 };

Deno.test("a window has slices where its processes stayed the same, and none that is too short", { ignore }, () => {
  const pinned = new Meter(null, [], [1]);
  const busy = (ticks: number) => stat(IDLE, [ticks, 0, 0, 100 - ticks, 0, 0, 0, 0]);
  const from = reading(0, 0, stat(IDLE, IDLE));
  const to = reading(1e6, 400_000, busy(90), 300_000);
  const slicesOf = (between: Reading[], last = to) =>
    pinned.times({ from, between, to: last }, SPAN).slices
      .map(({ own_cpu: { server_us, client_us }, cores }) => [server_us, client_us, cores[0]!.busy_us]);
  const middle = reading(0.5e6, 100_000, busy(20), 100_000);
  assertEquals(slicesOf([middle]), [[100_000, 100_000, 200_000], [300_000, 200_000, 700_000]]);
  assertEquals(slicesOf([]), []);
  assertEquals(slicesOf([middle], { ...to, pids: [4711, 4712] }), []); // what the new one used by then nobody knows
  assertEquals(slicesOf([middle], { ...to, pids: [4712] }), []);
  assertEquals(slicesOf([middle], { ...to, endedUs: 10_000 }), []); // one has come and gone
  const late = [reading(0.1e6, 0, busy(5)), middle, reading(0.9e6, 0, busy(80))];
  assertEquals(slicesOf(late), [[100_000, 100_000, 200_000], [300_000, 200_000, 700_000]]);
  const { server_cpu_us, own_cpu } = pinned.times({ from, between: [middle], to }, SPAN);
  assertEquals([server_cpu_us, own_cpu.client_us], [400_000, 300_000]); // of all of it
});

Deno.test("a long window is looked at every half second, and not once its load is over", { ignore }, async () => {
  const meter = new Meter(Deno.pid, [Deno.pid], []);
  const startUs = monotonicUs();
  const { from, between, to } = await meter.readAt(startUs, startUs + 1.1e6, new Promise(() => {}));
  assertEquals(between.length, 1); // the rest is shorter than a slice and a half
  assert(from.atUs < between[0]!.atUs && between[0]!.atUs < to.atUs);
  assert(from.serverUs! < between[0]!.serverUs! && between[0]!.serverUs! < to.serverUs!);
  assertEquals((await meter.readAt(startUs, startUs + 60e6, Promise.resolve())).between, []);
});

Deno.test("of a server with many processes nothing is read within a window", { ignore }, async () => {
  const script =
    `for i in $(seq ${MAX_LOOKED_AT}); do sleep 60 & all="$all $!"; done; echo ready; read x; kill $all; wait`;
  const server = new Deno.Command("sh", { args: ["-c", script], stdin: "piped", stdout: "piped" }).spawn();
  const out = server.stdout.getReader();
  await out.read();
  const startUs = monotonicUs();
  const { from, between } = await new Meter(server.pid, [], []).readAt(startUs, startUs + 1.1e6, new Promise(() => {}));
  assertEquals([from.pids.length, between.length], [MAX_LOOKED_AT + 1, 0]);
  await server.stdin.close();
  await out.cancel();
  await server.status;
});

Deno.test("what threads of the kernel do for the server is no load of strangers", { ignore }, () => {
  const meter = new Meter(null, [], [1], [Deno.pid]);
  assert(meter.read().first.kernelUs > 0); // whatever the process is
  const from = reading(0, 0, stat(IDLE, IDLE), 0, 100_000);
  const to = reading(1e6, 300_000, stat(IDLE, [90, 0, 0, 10, 0, 0, 0, 0]), 0, 700_000);
  const window = meter.between(from, to, { fromUs: 0, toUs: 1e6, loadFromUs: 0, loadToUs: 1e6 });
  assertEquals(window.own_cpu.beside_us, 600_000);
  const cores = window.cores.map((core) => ({ ...core, server: true, client: false }));
  const { busy, own, foreign } = coreSharesOf([{ ...window, cores }], "server")!;
  assertEquals([busy, own, foreign], [0.9, 0.3, 0]);
});

Deno.test("shares are of all windows together, and bounded once", () => {
  const host = (busy: number, steal: number, total: number): CpuTimes => ({
    busy_us: busy,
    irq_us: 0,
    softirq_us: 0,
    steal_us: steal,
    total_us: total,
  });
  const own = (server: number | null, client: number) => ({ server_us: server, client_us: client });
  // Ticks of 10 ms: one window seems to have used less than its processes did, and the next one more.
  const windows = [
    { host_cpu: host(80_000, 0, 200_000), own_cpu: own(45_000, 45_000) },
    { host_cpu: host(100_000, 20_000, 200_000), own_cpu: own(45_000, 45_000) },
  ];
  assertEquals(sharesOf(windows), { steal: 0.05, foreign: 0 });
  assertEquals(sharesOf([{ host_cpu: host(90_000, 0, 200_000), own_cpu: own(20_000, 30_000) }]).foreign, 0.2);
  const beside = { ...own(20_000, 30_000), beside_us: 30_000 };
  assertEquals(sharesOf([{ host_cpu: host(90_000, 0, 200_000), own_cpu: beside }]).foreign, 0.05);
  assertEquals(sharesOf([{ host_cpu: host(90_000, 0, 200_000), own_cpu: own(null, 0) }]), { steal: 0, foreign: null });
  assertEquals(sharesOf([{ host_cpu: host(0, 0, 0), own_cpu: own(5, 0) }]), { steal: null, foreign: null });
  assertEquals(sharesOf([{ host_cpu: null, own_cpu: own(5, 0) }]), { steal: null, foreign: null });
});

const core = (cpu: number, sides: Partial<CoreTimes>, busy: number, softirq: number, steal = 0): CoreTimes => ({
  cpu,
  server: false,
  client: false,
  busy_us: busy,
  irq_us: 0,
  softirq_us: softirq,
  steal_us: steal,
  total_us: 1e6,
  ...sides,
});

Deno.test("a core's time is its side's own, other people's, or stolen", () => {
  const cores = [core(0, { server: true }, 900_000, 200_000, 50_000), core(1, { client: true }, 700_000, 100_000)];
  const windows = [{ cores, own_cpu: { server_us: 700_000, client_us: 700_000 } }];
  assertEquals(coreSharesOf(windows, "server"), { busy: 0.9, softirq: 0.2, steal: 0.05, own: 0.7, foreign: 0.2 });
  assertEquals(coreSharesOf([...windows, ...windows], "client"), {
    busy: 0.7,
    softirq: 0.1,
    steal: 0,
    own: 0.7,
    foreign: 0,
  });
  // What the other server of a pair used while it waited is no load of strangers; on the load's core it cannot be.
  const beside = [{ cores, own_cpu: { server_us: 700_000, client_us: 700_000, beside_us: 150_000 } }];
  assertEquals([coreSharesOf(beside, "server")!.foreign, coreSharesOf(beside, "client")!.foreign], [0.05, 0]);
  // Where interrupts have an account of their own, the fifth of the server's core was its network stack, and nobody else.
  assertEquals(coreSharesOf(windows, "server", true)!.foreign, 0);
  assertEquals(coreSharesOf([{ cores, own_cpu: { server_us: null, client_us: 0 } }], "server")!.own, null);
  assertEquals(coreSharesOf([{ cores: [], own_cpu: { server_us: 1, client_us: 1 } }], "server"), null);
});

Deno.test("interrupts are counted for each core of a side, over all windows together", () => {
  const window = (first: number, second: number) => ({
    cores: [
      core(0, { server: true }, 1e6, 500_000),
      { ...core(1, { client: true }, 1e6, first), irq_us: 50_000 },
      core(2, { client: true }, 1e6, second),
    ],
  });
  assertEquals(interruptSharesOf([window(250_000, 100_000), window(150_000, 300_000)], "client"), [0.25, 0.2]);
  assertEquals(interruptSharesOf([window(0, 0)], "server"), [0.5]);
  assertEquals(interruptSharesOf([{ cores: [] }], "client"), []);
});

Deno.test("on a core that both sides share neither is foreign to the other", () => {
  const cores = [core(0, { server: true, client: true }, 1e6, 0)];
  const { own, foreign } = coreSharesOf([{ cores, own_cpu: { server_us: 600_000, client_us: 300_000 } }], "server")!;
  assertEquals([own, Math.round(foreign! * 10)], [0.6, 1]);
});
