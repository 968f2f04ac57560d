/**
 * A ring of io_uring whose connections are direct descriptors: entries of a table that belongs to the ring, not to the
 * process. RLIMIT_NOFILE bounds the size of one such table, and nothing counts how many tables there are.
 *
 * @module
 */
import { enter, map, newEventfd, register, setUp } from "./libc.ts";

// <linux/io_uring.h>, all of it
const IORING_SETUP_CQSIZE = 1 << 3;
const IORING_SETUP_SUBMIT_ALL = 1 << 7;
const IORING_SETUP_TASKRUN_FLAG = 1 << 9;
const IORING_SETUP_SINGLE_ISSUER = 1 << 12;
const IORING_SETUP_DEFER_TASKRUN = 1 << 13;
const IORING_ENTER_GETEVENTS = 1;
const IORING_SQ_TASKRUN = 1 << 2;
const IORING_OFF_SQES = 0x10000000n;
const IORING_REGISTER_EVENTFD = 4;
const IORING_REGISTER_FILES2 = 13;
const IORING_REGISTER_PBUF_RING = 22;
const IORING_RSRC_REGISTER_SPARSE = 1;
const IORING_FILE_INDEX_ALLOC = -1; // ~0U: the kernel chooses a free slot
const IORING_OP_CONNECT = 16;
const IORING_OP_CLOSE = 19;
const IORING_OP_SEND = 26;
const IORING_OP_RECV = 27;
const IORING_OP_SOCKET = 45;
const IORING_CQE_F_BUFFER = 1;
const FIXED_FILE = 1 << 8;
const BUFFER_SELECT = 1 << 13;
const POLL_FIRST = 1 << 16; // opcode | IOSQE_… << 8 | IORING_RECVSEND_… << 16
const MSG_WAITALL = 0x100;
const MSG_NOSIGNAL = 0x4000; // <bits/socket.h>
const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCKADDR_BYTES = 16; // <bits/socket.h>, <netinet/in.h>

const SUBMISSIONS = 256;
const COMPLETIONS = 4 * SUBMISSIONS; // powers of two; a full CQ loses nothing, the kernel keeps the rest
const BUFFERS = 256;
const BUFFER_BYTES = 128; // for what is received (a power of two); none free: ENOBUFS, and the receive is repeated
const SUBMISSIONS_EACH = 2; // so many at most follow from one completion
/** A handful of operations at a time is enough to keep both processes busy; more only makes queues. */
export const WINDOW = 64;

/** What has completed. */
export const SOCKET = 0;
export const CONNECT = 1;
export const RECEIVE = 2;
export const SEND = 3;
export const CLOSE = 4;

/** Where the parts of the memory lie that the kernel reads and writes: the ring of buffers, the buffers, what is sent. */
const BUFFERS_AT = 16 * BUFFERS;
const OUTGOING_AT = BUFFERS_AT + BUFFERS * BUFFER_BYTES;

/** What is called with each completion. It may submit two operations in return, and no more. */
export interface Handler {
  /**
   * @param kind One of `SOCKET`, `CONNECT`, `RECEIVE`, `SEND`, `CLOSE`.
   * @param slot Of the connection; for `SOCKET` the result is its slot.
   * @param result What the system call would have returned, or -errno.
   * @param at Where in the memory of the ring the bytes lie that were received; until this call returns.
   */
  onCompleted(kind: number, slot: number, result: number, at: number): void;
}

/** One ring with its table. Its operations are submitted with the next {@linkcode Ring.drain}. */
export class Ring {
  /** Becomes readable when there is something to drain. */
  readonly eventfd: number = newEventfd();
  /** Of the received bytes. */
  readonly memory: Uint8Array<ArrayBuffer>;
  readonly #fd: number;
  readonly #words: Int32Array<ArrayBuffer>;
  readonly #halves: Uint16Array<ArrayBuffer>;
  readonly #address: number;
  readonly #rings: Int32Array<ArrayBuffer>;
  readonly #sqes: Int32Array<ArrayBuffer>;
  readonly #at: { sqTail: number; sqFlags: number; sqArray: number; cqHead: number; cqTail: number; cqes: number };
  #tail = 0;
  #submitted = 0;
  #lentTail = 0;

  /**
   * @param slots Connections that it can have, up to RLIMIT_NOFILE.
   * @param outgoing The bytes that each send sends.
   * @param peer The struct sockaddr_in that each connect connects to.
   */
  constructor(slots: number, readonly outgoing: Uint8Array, peer: Uint8Array) {
    const params = new Int32Array(30); // struct io_uring_params: flags at 2, offsets into the SQ from 10, the CQ from 20
    params[1] = COMPLETIONS;
    params[2] = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG |
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    this.#fd = setUp(SUBMISSIONS, params);
    const offset = (word: number) => params[word]! >> 2;
    this.#at = {
      sqTail: offset(11),
      sqFlags: offset(14),
      sqArray: offset(16),
      cqHead: offset(20),
      cqTail: offset(21),
      cqes: offset(25),
    };
    const { sqArray, cqes } = this.#at;
    this.#rings = new Int32Array(map(4 * Math.max(sqArray + SUBMISSIONS, cqes + 4 * COMPLETIONS), this.#fd).memory);
    this.#sqes = new Int32Array(map(64 * SUBMISSIONS, this.#fd, IORING_OFF_SQES).memory);
    for (let i = 0; i < SUBMISSIONS; i++) this.#rings[sqArray + i] = i; // each place of the queue has its own entry
    const { memory, address } = map(OUTGOING_AT + outgoing.length + SOCKADDR_BYTES);
    this.#address = address;
    this.memory = new Uint8Array(memory);
    this.#words = new Int32Array(memory, 0, OUTGOING_AT >> 2);
    this.#halves = new Uint16Array(memory, 0, OUTGOING_AT >> 1);
    this.memory.set(outgoing, OUTGOING_AT);
    this.memory.set(peer, OUTGOING_AT + outgoing.length);
    this.#register(slots);
  }

  #register(slots: number): void {
    // With DEFER_TASKRUN the ring's own descriptor never becomes readable, as nobody runs the work: but this one does.
    register(this.#fd, IORING_REGISTER_EVENTFD, Int32Array.of(this.eventfd), 1, "register an eventfd");
    const table = Int32Array.of(slots, IORING_RSRC_REGISTER_SPARSE, 0, 0, 0, 0, 0, 0); // struct io_uring_rsrc_register
    register(this.#fd, IORING_REGISTER_FILES2, table, table.byteLength, `register a table of ${slots} descriptors`);
    for (let buffer = 0; buffer < BUFFERS; buffer++) this.#giveBack(buffer);
    const lent = new Int32Array(10); // struct io_uring_buf_reg: the address as two words, and how many
    lent.set([this.#address, this.#address / 2 ** 32, BUFFERS]);
    register(this.#fd, IORING_REGISTER_PBUF_RING, lent, 1, `lend ${BUFFERS} buffers`);
    Atomics.store(this.#halves, 7, this.#lentTail);
  }

  /** Writes a struct io_uring_buf, except for its resv: in the first one it is the tail of the ring. */
  #giveBack(buffer: number): void {
    const entry = 4 * (this.#lentTail++ & BUFFERS - 1);
    const at = this.#address + BUFFERS_AT + buffer * BUFFER_BYTES;
    this.#words[entry] = at;
    this.#words[entry + 1] = at / 2 ** 32;
    this.#words[entry + 2] = BUFFER_BYTES;
    this.#halves[2 * entry + 6] = buffer;
  }

  /** Takes a place in the queue and writes what all operations have. Returns the first word of its struct io_uring_sqe. */
  #submit(kind: number, slot: number, operation: number, fd: number): number {
    if (this.#tail - this.#submitted >= SUBMISSIONS) throw new Error(`There are over ${SUBMISSIONS} submissions`);
    const at = (this.#tail++ & SUBMISSIONS - 1) << 4;
    this.#sqes.fill(0, at, at + 16);
    this.#sqes[at] = operation;
    this.#sqes[at + 1] = fd;
    this.#sqes[at + 8] = slot; // user_data, and its upper half
    this.#sqes[at + 9] = kind;
    return at;
  }

  #pointTo(at: number, address: number): void {
    this.#sqes[at + 4] = address;
    this.#sqes[at + 5] = address / 2 ** 32;
  }

  /** Makes a socket in a free slot. */
  socket(): void {
    const at = this.#submit(SOCKET, 0, IORING_OP_SOCKET, AF_INET);
    this.#sqes[at + 2] = SOCK_STREAM;
    this.#sqes[at + 11] = IORING_FILE_INDEX_ALLOC;
  }

  connect(slot: number): void {
    const at = this.#submit(CONNECT, slot, IORING_OP_CONNECT | FIXED_FILE, slot);
    this.#pointTo(at, this.#address + OUTGOING_AT + this.outgoing.length);
    this.#sqes[at + 2] = SOCKADDR_BYTES;
  }

  /** Receives what comes next, up to a buffer full. Before there is something to receive it holds no buffer. */
  receive(slot: number): void {
    this.#submit(RECEIVE, slot, IORING_OP_RECV | FIXED_FILE | BUFFER_SELECT | POLL_FIRST, slot);
  }

  /** Sends all of `outgoing`. */
  send(slot: number): void {
    const at = this.#submit(SEND, slot, IORING_OP_SEND | FIXED_FILE, slot);
    this.#pointTo(at, this.#address + OUTGOING_AT);
    this.#sqes[at + 6] = this.outgoing.length;
    this.#sqes[at + 7] = MSG_WAITALL | MSG_NOSIGNAL;
  }

  /** Closes a connection: its slot is free once this has completed. */
  close(slot: number): void {
    this.#sqes[this.#submit(CLOSE, slot, IORING_OP_CLOSE, 0) + 11] = slot + 1; // 0 would say: no slot, but a descriptor
  }

  /**
   * Submits, and hands out what completes, until nothing more does: the eventfd tells of new work only once, and one call runs
   * a part of it, some 20 pieces.
   */
  drain(handler: Handler): void {
    let came: number, more: boolean;
    do {
      Atomics.store(this.#rings, this.#at.sqTail, this.#tail);
      this.#submitted += enter(this.#fd, this.#tail - this.#submitted, IORING_ENTER_GETEVENTS);
      came = this.#collect(handler);
      more = (Atomics.load(this.#rings, this.#at.sqFlags) & IORING_SQ_TASKRUN) !== 0;
    } while (came > 0 || more || this.#tail !== this.#submitted);
  }

  /** Hands out as many completions as the queue has room for what they ask for. Returns how many there were. */
  #collect(handler: Handler): number {
    const rings = this.#rings;
    const { cqHead, cqTail, cqes } = this.#at;
    const head = rings[cqHead]!;
    const came = Atomics.load(rings, cqTail) - head | 0;
    const free = SUBMISSIONS - (this.#tail - this.#submitted);
    const taken = Math.min(came, Math.floor(free / SUBMISSIONS_EACH));
    for (let i = 0; i < taken; i++) {
      const cqe = cqes + ((head + i & COMPLETIONS - 1) << 2); // struct io_uring_cqe { u64 user_data; s32 res; u32 flags; }
      const flags = rings[cqe + 3]!;
      const buffer = flags >>> 16;
      handler.onCompleted(rings[cqe + 1]!, rings[cqe]!, rings[cqe + 2]!, BUFFERS_AT + buffer * BUFFER_BYTES);
      if ((flags & IORING_CQE_F_BUFFER) !== 0) this.#giveBack(buffer);
    }
    Atomics.store(rings, cqHead, head + taken | 0);
    Atomics.store(this.#halves, 7, this.#lentTail);
    return came;
  }
}
