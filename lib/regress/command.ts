/**
 * What the commands have in common that judge: their load, and how they report a round.
 *
 * @module
 */
import { count } from "../text/format.ts";
import { type Candidate, spoiltBy } from "./rounds.ts";

/**
 * What a judgement takes: some minutes for each experiment. Slices are short and many: what others do on a shared machine
 * comes in bursts, and of pairs of neighbours the more are spared, the shorter they are.
 */
export const ROUND = { rounds: 30, slices: 24, seconds: 0.125, settleSeconds: 10 };
/** How long that takes for one server: a round is six seconds of slices, start and warm-up of both up to twenty more. */
export const TAKES = "5 to 13 minutes, and as many again where fresh rounds must decide";
/** A first look. */
export const QUICK_ROUND = { rounds: 10, slices: 16, seconds: 0.125, settleSeconds: 3 };
/** Enough for every loop to find several that are ready, few enough for a thread or a process each. */
export const CONNECTIONS = 10;

/** The newest round in words: what it found, and whether it counts. */
export function roundInWords({ subject, rounds }: Candidate, wanted: number): string {
  const round = rounds.at(-1)!;
  const { phase, log_ratio: log, failure, rate_per_s } = round;
  const number = rounds.filter((round) => round.phase === phase).length;
  const found = log === null
    ? `failed: ${failure?.reason}`
    : `${count(Math.exp(log), 3)} times the CPU time per request`;
  const what = phase === "first" ? "round" : "fresh round";
  const at = rate_per_s === null ? "" : ` at ${count(rate_per_s)}/s`;
  const spoilt = log === null ? [] : spoiltBy(round);
  const lost = spoilt.length === 0 ? "" : `, does not count: ${spoilt.join(", ")}`;
  return `${subject.name}: ${what} ${number} of ${wanted}${at}, ${found}${lost}`;
}

/** Tells of the newest round, on stderr. */
export const tellRound = (candidate: Candidate, wanted: number): void => console.error(roundInWords(candidate, wanted));

/** Adds to a file whose path only the environment knows, so that no task can permit it: by a process of its own. */
export async function appendTo(path: string, text: string): Promise<void> {
  try {
    const tee = new Deno.Command("tee", { args: ["-a", path], stdin: "piped", stdout: "null" }).spawn();
    const writer = tee.stdin.getWriter();
    await writer.write(new TextEncoder().encode(text));
    await writer.close();
    const { success, code } = await tee.status;
    if (!success) throw new Error(`tee ended with ${code}`);
  } catch (error) { // the verdict is more than its summary: it is printed, and stays
    console.error(`The summary could not be added to ${path}: ${(error as Error).message}`);
  }
}
