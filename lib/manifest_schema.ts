/**
 * What is told of a server beside its figures: the type, and the checks that a stored one must pass.
 *
 * @module
 */
import { list, nullOr, number, type Shape, text, truth } from "./shape.ts";

/** One server's. Null: this system does not tell, or there was none of it to look at. */
export interface Manifest {
  /** Of what serves: the runtime, the compiler of a program, the server itself. */
  version: string;
  /** What the header says of it. */
  settings: string | null;
  /** What of the contract the header says it cannot: what is not done need not be paid for. */
  cannot: string[];
  /** The cores that it may use, as in `0-3`. */
  cpus: string | null;
  processes: number | null;
  /** With the connections that it held when it was looked at. */
  threads: number | null;
  /** Of the listening socket, as the kernel has cut it. */
  backlog: number | null;
  /** TCP_NODELAY of an accepted connection. */
  nodelay: boolean | null;
  /** SO_SNDBUF and SO_RCVBUF of an accepted connection, as the kernel set them. */
  send_buffer_bytes: number | null;
  receive_buffer_bytes: number | null;
}

/** The fields, with the check of each. A test holds results/README.md against them. */
export const MANIFEST: Shape<Manifest> = {
  version: text,
  settings: nullOr(text),
  cannot: list(text),
  cpus: nullOr(text),
  processes: nullOr(number),
  threads: nullOr(number),
  backlog: nullOr(number),
  nodelay: nullOr(truth),
  send_buffer_bytes: nullOr(number),
  receive_buffer_bytes: nullOr(number),
};
