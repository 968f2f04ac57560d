/**
 * Which requests of many are the special ones of a share.
 *
 * @module
 */

/**
 * Whether the running sum of a share passes a whole number at this request: as even as can be, and the same in every run.
 *
 * @param start Where the sum starts, from 0 to 1: two shares with other starts choose other requests.
 */
export function passes(request: number, share: number, start = 0): boolean {
  const sum = start + request * share + 1e-9; // 100 × 0.29 is a little under 29 in doubles
  return Math.floor(sum + share) > Math.floor(sum);
}
