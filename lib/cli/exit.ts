/**
 * The exit codes of all commands.
 *
 * @module
 */

/** Codes from 64 on are those of `<sysexits.h>`; 130 is what a shell reports for SIGINT. */
export const EXIT = {
  ok: 0,
  /** The run failed, or the verdict is "slower". */
  failed: 1,
  usage: 2,
  /** There is no verdict. */
  inconclusive: 3,
  /** This system or this machine cannot do it. */
  unavailable: 69,
  /** The program that measures failed, not what it measures. */
  harness: 70,
  interrupted: 130,
} as const;

/** What `--help` says of them. */
export const EXIT_USAGE = `Exit codes: 0 ok, 1 failed or slower, 2 usage, 3 inconclusive, 69 unavailable,
            70 harness failure, 130 interrupted.`;
