/**
 * What is said on the connections of the probe `million`, and how it is compared.
 *
 * @module
 */

const bytes = (text: string) => new TextEncoder().encode(text);
export const REQUEST: Uint8Array = bytes("GET / HTTP/1.1\r\nHost: lab\r\n\r\n");
/** The answer that the experiments give. */
export const ANSWER: Uint8Array = bytes("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World");

export const ENOBUFS = 105; // <asm-generic/errno.h>
const MAX_ERRORS = 64; // kinds that are distinguished; there are about as many in <errno.h> that a socket can have

/** Whether so many bytes that have come are those that follow on the first `got` ones. */
export function isNext(memory: Uint8Array, at: number, length: number, wanted: Uint8Array, got: number): boolean {
  if (got + length > wanted.length) return false;
  for (let i = 0; i < length; i++) if (memory[at + i] !== wanted[got + i]) return false;
  return true;
}

export function countError({ errors }: { errors: Record<string, number> }, name: string): void {
  if (name in errors || Object.keys(errors).length < MAX_ERRORS) errors[name] = (errors[name] ?? 0) + 1;
}
