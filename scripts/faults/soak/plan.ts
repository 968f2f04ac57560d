/**
 * What is done in a soak, and when: a sequence that its seed repeats.
 *
 * @module
 */
import { isCustom, type Subject } from "../../../lib/server/subject.ts";
import { seededRandom } from "../../../lib/timing/random.ts";
import type { Fault } from "../faults.ts";
import { EXCUSES, type RuleId } from "../judge.ts";

/** One turn: a fault beside the load or none, and then a quiet stretch that is measured. */
export interface Turn {
  fault: Fault | null;
  /** Of all that is random in the fault. */
  seed: number;
}

/** The share of the turns that have a fault. */
const FAULT_SHARE = 0.5;
/** Rules about what goes by: a server that breaks no other can be put under a fault again. */
const PASSING: readonly RuleId[] = ["share", "p99", "spins"];

/**
 * The faults that a server can be put under again and again: none that ends it, takes the whole machine or has to be around
 * the server from its start, and none of which its header says that answers are lost or something stays behind.
 *
 * @param hasPid Whether its processes are known.
 */
export function faultsFor(subject: Subject, all: readonly Fault[], hasPid: boolean): Fault[] {
  const cannot = isCustom(subject) ? {} : subject.cannot;
  return all.filter(({ ends, ground, isHeavy, needsPid, abilities }) =>
    !ends && ground === undefined && !isHeavy && (hasPid || !needsPid) &&
    !abilities.some((ability) =>
      Object.hasOwn(cannot, ability) && EXCUSES[ability]!.some((id) => !PASSING.includes(id))
    )
  );
}

/** The turns of a soak, without an end. Equal seeds make equal turns. */
export function* turnsOf(faults: readonly Fault[], seed: number): Generator<Turn, never> {
  for (const random = seededRandom(seed);;) {
    const [whether, which, own] = [random(), random(), random()];
    const fault = whether < FAULT_SHARE ? faults[Math.floor(which * faults.length)] ?? null : null;
    yield { fault, seed: Math.floor(own * 2 ** 32) };
  }
}
