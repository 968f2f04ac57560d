/**
 * Random numbers and orders that a seed repeats.
 *
 * @module
 */
/**
 * A generator of uniform numbers in [0, 1) whose sequence is fixed by its seed, so that an interval can be computed again.
 *
 * Source: mulberry32 by Tommy Ettinger (public domain), 32 bits of state: enough for resampling, nothing for secrets.
 */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A sample of the rows without replacement: all of them in random order. */
export function shuffled<T>(values: readonly T[], random: () => number): T[] {
  const all = [...values];
  for (let i = all.length - 1; i > 0; i--) { // Fisher and Yates
    const j = Math.floor(random() * (i + 1));
    [all[i], all[j]] = [all[j]!, all[i]!];
  }
  return all;
}
