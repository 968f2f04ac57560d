/**
 * Connections whose clients misbehave, which the other commands of the load generator never do: they stop in the middle of a
 * request, end by a reset, or close the half that they send on before the answer is there.
 *
 * @module
 */
import { BUSY } from "./connections.ts";
import { EpollConnections } from "./epoll.ts";
import { libc, must, SHUT_WR } from "./libc.ts";
import type { EngineConfig } from "./types.ts";

const UNSPECIFIED = new Uint8Array(16); // struct sockaddr with AF_UNSPEC, which is 0, <bits/socket.h>

/** As `EpollConnections`, with three ways more to treat a server. */
export class StressConnections extends EpollConnections {
  /** Half-closed connections that have their answer: nothing may come any more but the end. */
  readonly ending = new Set<number>();
  /** The end has come on one of them, and it is no more. */
  onEnd: (id: number) => void = () => {};
  readonly #half: Uint8Array<ArrayBuffer>;

  constructor(config: EngineConfig, light: Uint8Array<ArrayBuffer>) {
    super(config, light);
    this.#half = light.subarray(0, light.length >> 1);
  }

  /** Sends the first half of a request, and returns whether that was possible; if not, the connection is lost. */
  sendHalf(id: number): boolean {
    const failed = this.transmit(id, this.#half);
    if (failed !== "") this.lose(id, failed);
    return failed === "";
  }

  /** Sends FIN: nothing more will be asked. What was asked is to be answered. */
  closeHalf(id: number): void {
    libc.shutdown(id, SHUT_WR); // ENOTCONN: the server has reset it, and recv(2) will tell
  }

  /**
   * Ends a connection by a reset alone. close(2) under SO_LINGER with 0 s does it by tcp_disconnect(), net/ipv4/tcp.c; connect(2)
   * to AF_UNSPEC calls the same function, and leaves `close` no connection to send the FIN on with which it ends all others.
   */
  reset(id: number): void {
    must(libc.connect(id, UNSPECIFIED, UNSPECIFIED.length), "reset a connection");
    if (this.states[id] === BUSY) this.busy--;
    this.close(id);
  }

  protected override ended(id: number): void {
    if (!this.ending.delete(id)) return super.ended(id);
    this.close(id);
    this.onEnd(id);
  }

  protected override lose(id: number, error: string): void {
    this.ending.delete(id);
    super.lose(id, error);
  }
}
