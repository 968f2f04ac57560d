/**
 * The scenario of servers that push: listeners, one of which publishes, and each message is to reach all of them.
 *
 * @module
 */
import { addErrors, type Bench, look, type Measured, NOTHING, percentiles, plateau, SILENCE_MS } from "./bench.ts";
import { evidenceOf, lateness, throttleMeter } from "./evidence.ts";
import { type Climb, FAILED_SHARE, mainCause, nextStep, plateauAt, spent, startClimb, usedBytes } from "./hold.ts";
import type { Broadcast } from "../load/generator.ts";
import { count } from "../text/format.ts";

/** Opens listeners up to `wanted`, as fast as guard and time allow. Returns why it stopped. */
async function gatherUpTo(bench: Bench, climb: Climb, wanted: number): Promise<string | null> {
  const { generator, guard, server } = bench;
  while (climb.held < wanted) {
    const step = nextStep(bench, climb, wanted);
    if ("stop" in step) return step.stop;
    const { connected, seconds, errors } = await generator.listen(step.connect, { timeoutMs: SILENCE_MS });
    climb.connectSeconds += seconds;
    climb.connected += connected;
    climb.held += connected;
    climb.answered += connected; // a handshake has an answer
    climb.kept += connected;
    climb.failed += step.connect - connected;
    climb.errors = addErrors(climb.errors, errors);
    climb.pacePerS = step.connect / seconds;
    const now = look(server);
    if (now !== null) guard.observe(climb.held, usedBytes(climb.start, now), now.mappings, now.threads);
    const tried = climb.kept + climb.failed;
    if (climb.failed > FAILED_SHARE * tried) {
      return `${count(climb.failed)} of ${count(tried)} listeners ${mainCause(climb.errors, 0)}`;
    }
  }
  return null;
}

/** Opens all listeners, with a plateau at a tenth of them: see `climbAll`. Those that do not read come last. */
export async function gather(bench: Bench) {
  const { generator, parameters: { connections: wanted, slow = 0 } } = bench;
  const climb = startClimb(bench);
  let reason = await gatherUpTo(bench, climb, Math.ceil(wanted / 10));
  const low = plateauAt(climb.held, bench);
  reason ??= await gatherUpTo(bench, climb, wanted);
  const memory = spent(bench, climb, low);
  if (reason === null && slow > 0) {
    const { failed, errors } = await generator.listen(0, { slow, timeoutMs: SILENCE_MS });
    climb.errors = addErrors(climb.errors, errors);
    if (failed > 0) reason = `${count(failed)} of ${count(slow)} listeners that do not read could not be opened`;
  }
  return { climb, memory, reason };
}

/** What a delivery cost the server, in CPU-µs; null where its CPU time is not known. */
export const cpuPerDelivery = ({ server_cpu_us, requests, drained }: Broadcast): number | null =>
  server_cpu_us === null || requests === drained ? null : server_cpu_us / (requests - drained);

/** The scenario. */
export async function broadcast(bench: Bench): Promise<Measured> {
  const { generator, server, parameters } = bench;
  const { seconds, warmup_seconds: warmupSeconds, rate_per_s: rate, message_bytes: bytes } = parameters;
  if (rate === undefined || bytes === undefined) {
    throw new TypeError("A broadcast needs a rate and a size of messages.");
  }
  const { climb, memory, reason } = await gather(bench);
  const { histogram: none, errors, held } = climb;
  if (held === 0) {
    return { ...NOTHING, metrics: { connections: 0, answered: 0 }, histogram: none, errors, lost: 0, reason };
  }
  await bench.beforeWindow?.();
  const throttled = throttleMeter();
  const window = await generator.broadcast({ rate, seconds, warmupSeconds, bytes });
  const { requests, drained, messages, unanswered, lost, histogram, censored, last } = window;
  const shares = evidenceOf([window]);
  const missing = `${count(unanswered)} of ${count(requests + unanswered)} deliveries did not come`;
  return {
    metrics: {
      ...memory,
      ...plateau(look(server)),
      connections: window.connections,
      answered: requests,
      unanswered,
      lost,
      connect_seconds: climb.connectSeconds,
      connects_per_s: climb.connectSeconds > 0 ? climb.connected / climb.connectSeconds : null,
      messages,
      delivered_share: requests / (messages * held),
      deliveries_per_s: (requests - drained) / window.seconds,
      cpu_us_per_delivery: cpuPerDelivery(window),
      last_p50_us: last.count === 0 ? null : last.percentile(50),
      last_p99_us: last.count === 0 ? null : last.percentile(99),
      server_core_share: shares.serverCoreShare,
      client_core_share: shares.generatorCoreShare,
      ...lateness([window]),
      ...percentiles(histogram, censored),
    },
    histogram,
    censored,
    errors: addErrors(errors, window.errors),
    throttled: throttled(),
    window,
    lost,
    reason: reason ?? window.stopped_early ?? (unanswered > 0 ? missing : null),
  };
}
