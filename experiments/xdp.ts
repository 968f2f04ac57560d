/**
 * @title      xdp: around the kernel, with a TCP of its own
 * @family     bypass
 * @question   What does a connection cost if the kernel's TCP is not used at all?
 * @idea       An XDP program hands every frame of one address to this process before the kernel's stack sees it, and a
 *             small TCP here answers it. A socket, a descriptor and 4 KiB of kernel memory become 16 bytes in a table.
 * @prediction Ten million connections are held and answered by one thread, at 24 bytes or less for an idle one.
 * @expect     probe(c10m).held >= 10_000_000
 *             probe(c10m).lost <= 0
 *             probe(c10m).server_bytes_per_connection <= 24
 *             throughput(100).core_us_per_request < 0.75 * c-epoll
 *             throughput(1000).core_us_per_request < 0.75 * c-epoll
 * @compare    epoll, io-uring, multi-reactor
 * @requires   linux 5.9
 * @cannot     recover-emfile A connection has no descriptor, so descriptors do not run out: all clients are served.
 * @cannot     wait-at-emfile A connection has no descriptor, so no client has to wait for one.
 * @run        deno run --allow-ffi xdp.ts --interface veth0 --address 10.0.0.1 --port 8080
 * @try        curl -i http://10.0.0.1:8080/work/1000
 * @simplified IPv4 on one Ethernet and on queue 0, in copy mode. The address must not be one of the kernel's. TCP without
 *             window scaling, timestamps and path MTU discovery: a window is 64 KiB at most. SACK is sent and not read. A
 *             handshake whose last ACK is lost is forgotten after two minutes of silence. The peer's transmit checksum
 *             offload must be off where the two ends of a veth share a machine.
 *             A request body is never read: the connection closes after the answer. Host is not demanded.
 *             /work burns the CPU of the only thread, so every client waits for it: that is the price of one thread.
 * @sources    Documentation/networking/af_xdp.rst, bpf(2), packet(7); RFC 9293 (TCP), RFC 5681 and 6582 (congestion),
 *             RFC 6298 (retransmission), RFC 2018 (SACK), RFC 9040 (shared round trips), RFC 5961 (blind attacks),
 *             RFC 4987 (SYN cookies), RFC 6928 (initial window), RFC 1122 (hosts), RFC 1337 (TIME-WAIT), RFC 826 (ARP),
 *             RFC 9112 (HTTP/1.1); SipHash, Aumasson and Bernstein
 */
// The life of a connection. Idle, it is 16 bytes in a table; in brackets stands what a state adds to them.
//
//                          ┌──── all is acknowledged ─────┐
//                          ▼                              │
//  SYN ─► nothing ─ACK─► idle ── data or FIN ─► busy [a record: answers, timers, a partial head]
//         the answer       │                      │
//         is a cookie      │        last answer and FIN are acknowledged
//                          │                      │
//                          │                      ├─ peer has closed before ─► forgotten
//                          │                      ├─ peer closes now ─► TIME-WAIT ─ 60 s ─► forgotten
//                          │                      └─ peer goes on ─► lingering ─ 1 s ─► FIN-WAIT-2 ─ 60 s ─► forgotten
//                          └─ six keepalive probes without an answer ─► forgotten
//
// nothing     what a SYN says is in the initial sequence number of the answer: a flood of SYNs fills no memory.
// busy        bytes are not acknowledged, a head is not complete, or data lies behind a hole; each has a deadline.
// lingering   input is acknowledged and thrown away. The clock starts when the peer has acknowledged the last byte.
// TIME-WAIT, FIN-WAIT-2   16 bytes again.

import { getSystemErrorName, parseArgs } from "node:util";
const EXPERIMENT = "xdp";

// ---- Kernel ABI: asm-generic values, the same on x86-64 and aarch64 ----------------------------------------------

const AF_INET = 2; // <bits/socket.h>
const AF_XDP = 44;
const SOCK_DGRAM = 2; // <bits/socket_type.h>
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40; // <bits/socket.h>
const SOL_SOCKET = 1; // <asm-generic/socket.h>
const SO_ERROR = 4;
const POLLIN = 1; // <poll.h>
const PROT_READ_WRITE = 3; // <sys/mman.h>
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_ANONYMOUS = 0x20;
const MAP_POPULATE = 0x8000;
const MADV_HUGEPAGE = 14;
const CLOCK_THREAD_CPUTIME_ID = 3; // <time.h>
const CLOCK_MONOTONIC_COARSE = 6;
const TIMESPEC_SECONDS = 0; // words of struct timespec { i64 tv_sec; i64 tv_nsec; }
const TIMESPEC_NANOSECONDS = 2;
const EPERM = 1; // <asm-generic/errno.h>
const EINTR = 4;
const ENXIO = 6;
const EAGAIN = 11;
const EACCES = 13;
const EBUSY = 16;
const ENETDOWN = 100;
const ENOBUFS = 105;
const SIOCGIFCONF = 0x8912; // <linux/sockios.h>
const SIOCGIFMTU = 0x8921;
const SIOCGIFHWADDR = 0x8927;
const IFREQ_BYTES = 40; // struct ifreq: 16 bytes of name, then a union
const IFREQ_VALUE = 16;
const IFREQ_MAC = 18; // behind the family of struct sockaddr
const SOL_XDP = 283; // <linux/if_xdp.h>
const XDP_MMAP_OFFSETS = 1;
const XDP_RX_RING = 2;
const XDP_TX_RING = 3;
const XDP_UMEM_REG = 4;
const XDP_UMEM_FILL_RING = 5;
const XDP_UMEM_COMPLETION_RING = 6;
const XDP_MAX_TX_SKB_BUDGET = 9; // Linux 6.18: frames sent by one call, 32 before
const XDP_COPY = 2; // of sxdp_flags: every driver can do it
const XDP_USE_NEED_WAKEUP = 8;
const RX_OFFSET = 0; // what mmap(2) is asked for, for each ring
const TX_OFFSET = 0x8000_0000n;
const FILL_OFFSET = 0x1_0000_0000n;
const COMPLETION_OFFSET = 0x1_8000_0000n;
const DESCRIPTOR_WORDS = 4; // struct xdp_desc { u64 addr; u32 len; u32 options; }, of the rings rx and tx
const DESCRIPTOR_LENGTH = 2;
const ADDRESS_WORDS = 2; // u64, of the rings fill and completion
const SYS_BPF = Deno.build.arch === "x86_64" ? 321n : 280n; // <asm/unistd.h>
const BPF_MAP_CREATE = 0; // enum bpf_cmd of <linux/bpf.h>
const BPF_MAP_UPDATE_ELEM = 2;
const BPF_PROG_LOAD = 5;
const BPF_LINK_CREATE = 28;
const BPF_MAP_TYPE_XSKMAP = 17;
const BPF_PROG_TYPE_XDP = 6;
const BPF_XDP = 37; // enum bpf_attach_type
const XDP_FLAGS_SKB_MODE = 2; // <linux/if_link.h>: generic, on a copy of the frame that the stack has made already
const XDP_FLAGS_DRV_MODE = 4; // native, in the driver
const XDP_PASS = 2; // enum xdp_action: the frame goes on to the kernel's stack

// ---- Limits ------------------------------------------------------------------------------------------------------

const FRAME_BYTES = 2048; // one Ethernet frame of 1514 bytes, and 256 that the kernel keeps free before it
const RX_FRAMES = 4096; // frames that the kernel may fill before this process looks
const TX_FRAMES = 4096; // frames on their way out
const BATCH = 64; // frames taken from the kernel before answers are handed to it
const TURN_MS = 40; // the longest stretch without a look at signals; a look costs about 90 µs
const SLICE_US = 20_000; // the longest burn without a look at signals
const TICK_MS = 10; // how exact timers are
const STOP_MS = 1000; // how long what is in flight may take after SIGTERM; what is idle and has no FIN then is counted
const CLOSES = 4 * BATCH; // idle connections closed in one turn after SIGTERM, so that frames are taken between them
const MAX_CONNECTIONS = 400_000_000; // 8 GB of table
const LOAD_FACTOR = 0.8; // of the table: 20 bytes of memory for each of the connections that fit
const MAX_BUSY = 65_536; // connections with something in flight: a record of 164 bytes and 1 KiB of answers each
const EVICTION_SAMPLE = 64; // records looked at for one to end where none is free: all would be too many for each segment
const QUEUE = 1024; // answers of one connection that are not acknowledged; a power of two
const MAX_HEAD = 8192; // bytes of a request head; a longer one is answered 431
const RECEIVE_WINDOW = 32_768; // bytes of one connection that may be kept: more than MAX_HEAD, a few pipelined requests
const MAX_KEPT_BYTES = 64 * 2 ** 20; // the sum of all that is kept; above it a connection is dropped
const MAX_PIECES = 16; // of the data behind a hole that one connection may have kept; the peer sends others again
const MAX_PIECE_BYTES = 32 * 2 ** 20; // the sum of all pieces; above it none is kept
const PIECE_BYTES = 128; // that a piece takes besides its data
const HOLE_MS = 10_000; // a hole must be filled so long after the first piece behind it, else the pieces are thrown away
const HOLE_SHARE = 0.5; // of the records stay free for what is in order
const MAX_SACK_BLOCKS = 4; // as many as 40 bytes of options hold
const MAX_WORK_US = 100_000;
const HEAD_MS = 10_000; // a head must be complete so long after its first byte
const LINGER_MS = 1000; // how long a connection that was answered for the last time may go on sending
// A peer that takes no byte for so long is given up, as by TCP_USER_TIMEOUT of Linux: also one that keeps its window closed and
// acknowledges the probes. TCP would wait (RFC 9293, section 3.8.6.1); the server above it need not (RFC 6429, section 4).
const PROGRESS_MS = 30_000; // seven timeouts at most
const MAX_PROBE_MS = PROGRESS_MS / 3; // between probes of a closed window: so an open one is seen in time, also if two are lost
const SILENT_TRIES = 3; // timeouts in a row without an acknowledgement: a lossy wire has fewer, a peer that has gone has them all
const KEEPALIVE_S = 60; // as TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT
const KEEPALIVE_INTERVAL_S = 10;
const KEEPALIVE_PROBES = 6;
const MAX_PROBES = 64; // in one tick: ten million idle connections must not become a flood of probes
const MAX_IDLE_S = 600; // the longest --idle
const RTO_INITIAL_MS = 1000; // RFC 6298, section 2
const RTO_MIN_MS = 200; // less than the second of RFC 6298, as all systems have it
const RTO_MAX_MS = 60_000;
const INITIAL_WINDOW = 10; // segments, RFC 6928
const MAX_WINDOW = 65_535; // without window scaling a peer cannot offer more
const MAX_CHALLENGES_PER_S = 1000; // RFC 5961, section 7; half of it is random, so that nobody can count (section 10)
const COOKIE_PERIOD_MS = 64_000; // a cookie is good for one to two of them
const TIME_WAIT_S = 60; // as Linux has it, and FIN-WAIT-2 without a process as well
const MTU = 1500;
const MAX_OWN_ADDRESSES = 1024; // of this system, looked at before the start

// ---- libc: every system call of this server ----------------------------------------------------------------------

/** Says in one sentence why this cannot run here, and ends with EX_UNAVAILABLE of <sysexits.h>. */
function unavailable(reason: string): never {
  console.error(`${EXPERIMENT} cannot run here: ${reason}`);
  Deno.exit(69);
}

// Lengths are bound as i32 where the kernel reads 32 bits: a 64-bit parameter takes V8's slow path. mmap(2) and bpf(2)
// are called at the start only.
function openLibc() {
  if (Deno.build.os !== "linux") unavailable(`AF_XDP is a part of Linux, this is ${Deno.build.os}.`);
  try {
    return Deno.dlopen("libc.so.6", {
      socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
      bind: { parameters: ["i32", "buffer", "i32"], result: "i32" },
      setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "i32"], result: "i32" },
      getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
      ioctl: { parameters: ["i32", "i32", "buffer"], result: "i32" },
      if_nametoindex: { parameters: ["buffer"], result: "u32" },
      mmap: { parameters: ["usize", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
      madvise: { parameters: ["pointer", "usize", "i32"], result: "i32" },
      syscall: { parameters: ["i64", "i64", "buffer", "i64"], result: "i64" },
      sendto: { parameters: ["i32", "pointer", "i32", "i32", "pointer", "i32"], result: "i32" },
      poll: { parameters: ["buffer", "i32", "i32"], result: "i32" },
      close: { parameters: ["i32"], result: "i32" },
      clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
      sched_yield: { parameters: [], result: "i32", nonblocking: true },
      __errno_location: { parameters: [], result: "pointer" },
    }).symbols;
  } catch (error) {
    return unavailable(error instanceof Error ? error.message : String(error));
  }
}
// This file is a program, and a TCP that tests import: then no library is opened.
let libc: ReturnType<typeof openLibc>;
let errno: Int32Array;

/** Opens libc. errno of this thread is read in place: glibc hands out its address. */
export function useLibc(): void {
  libc = openLibc();
  errno = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(libc.__errno_location()!, 4));
}

/** Returns the result of a system call. If it failed: ends with what was tried, the errno by name and what to do about it. */
function must(result: number | bigint, action: string, remedy = "see the manual page of the call"): number {
  if (result >= 0) return Number(result);
  const code = errno[0]!;
  if (code === EPERM || code === EACCES) {
    unavailable(`it needs root (CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF) to ${action}.`);
  }
  console.error(`Cannot ${action}: ${getSystemErrorName(-code)} (${code}), ${remedy}`);
  return Deno.exit(1);
}

const timespec = new Int32Array(4);

/** Milliseconds since the start of the system, to the kernel's tick (1 to 10 ms). Nobody can set this clock: it never steps. */
export function readClockMs(): number {
  libc.clock_gettime(CLOCK_MONOTONIC_COARSE, timespec); // fails for an unknown clock only
  return timespec[TIMESPEC_SECONDS]! * 1000 + Math.trunc(timespec[TIMESPEC_NANOSECONDS]! / 1e6);
}

let heardMs = 0; // when signals were heard last

/** Lets signal handlers run: a call on another thread gives this one back to Deno's event loop meanwhile. */
async function hearSignals(): Promise<void> {
  await libc.sched_yield();
  heardMs = readClockMs();
}

/** Maps memory. mmap(2) reports a failure as the address −1. */
function map(bytes: number, flags: number, fd: number, offset: number | bigint, action: string): ArrayBuffer {
  const pointer = libc.mmap(0n, BigInt(bytes), PROT_READ_WRITE, flags, fd, BigInt(offset));
  const failed = pointer === null || Deno.UnsafePointer.value(pointer) === 2n ** 64n - 1n;
  must(failed ? -1 : 0, action, "the memory may be missing: ask for fewer --connections");
  return Deno.UnsafePointerView.getArrayBuffer(pointer!, bytes);
}

/**
 * Memory that is read at random places, as a table is, and as frames are that come and go: huge pages spare a walk of the page
 * tables for each look. They are filled at once, because a fault of 2 MiB in the middle of the work stalls every connection.
 */
export function tableMemory(bytes: number, what = "connections"): ArrayBuffer {
  const memory = map(bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, `map ${bytes} bytes for ${what}`);
  // A kernel without huge pages refuses the advice with EINVAL, and small pages do as well.
  libc.madvise(Deno.UnsafePointer.of(memory), BigInt(bytes), MADV_HUGEPAGE);
  new Uint8Array(memory).fill(0);
  return memory;
}

const address64 = (memory: Uint8Array<ArrayBuffer> | Int32Array<ArrayBuffer>) =>
  BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(memory)));
const words = (...values: number[]) => Int32Array.from(values);

const callBpf = (command: number, attribute: Uint8Array<ArrayBuffer>) =>
  libc.syscall(SYS_BPF, BigInt(command), attribute, BigInt(attribute.length));

/** One call of bpf(2). `attribute` is union bpf_attr, of which only the start has to be there. */
function bpf(command: number, attribute: Uint8Array<ArrayBuffer>, action: string, remedy?: string): number {
  return must(callBpf(command, attribute), action, remedy);
}

/** Puts an eBPF instruction together: opcode, registers, jump offset, constant (struct bpf_insn, 8 bytes). */
export const instruction = (code: number, to: number, from: number, jump: number, constant: number): bigint =>
  BigInt(code) | BigInt(to | from << 4) << 8n | BigInt(jump & 0xffff) << 16n | BigInt(constant >>> 0) << 32n;

/** A number as it lies in a frame, where the highest byte comes first. */
export const swapBytes = (word: number): number =>
  word >>> 24 | word >>> 8 & 0xff00 | (word & 0xff00) << 8 | word << 24;

/**
 * The program that the kernel runs for each frame: IPv4 to this address, and ARP that asks for it, go to the socket;
 * everything else goes on to the kernel. The verifier demands that each read is shown to lie within the frame.
 */
function steering(address: number, map: number): BigUint64Array<ArrayBuffer> {
  const wire = swapBytes(address);
  return BigUint64Array.from([
    instruction(0x61, 2, 1, 0, 0), //        r2 = ctx->data
    instruction(0x61, 3, 1, 4, 0), //        r3 = ctx->data_end
    instruction(0xbf, 4, 2, 0, 0), //        r4 = r2
    instruction(0x07, 4, 0, 0, 42), //       r4 += 42, an ARP frame, or the headers of Ethernet, IPv4 and ICMP
    instruction(0x2d, 4, 3, 13, 0), //       if r4 > r3 goto pass
    instruction(0x69, 5, 2, 12, 0), //       r5 = type of the frame, in network order
    instruction(0x15, 5, 0, 3, 0x0008), //   if r5 == IPv4 goto ip
    instruction(0x55, 5, 0, 10, 0x0608), //  if r5 != ARP goto pass
    instruction(0x61, 5, 2, 38, 0), //       r5 = the address that is asked for
    instruction(0x05, 0, 0, 1, 0), //        goto compare
    instruction(0x61, 5, 2, 30, 0), //   ip: r5 = destination
    instruction(0x56, 5, 0, 6, wire), // compare: if w5 != address goto pass
    instruction(0x61, 2, 1, 16, 0), //       r2 = ctx->rx_queue_index
    instruction(0x18, 1, 1, 0, map), //      r1 = map, of two instructions
    instruction(0x00, 0, 0, 0, 0),
    instruction(0xb7, 3, 0, 0, XDP_PASS), // r3 = what becomes of a frame from another queue
    instruction(0x85, 0, 0, 0, 51), //       call bpf_redirect_map
    instruction(0x95, 0, 0, 0, 0), //        exit
    instruction(0xb7, 0, 0, 0, XDP_PASS), // pass: r0 = XDP_PASS
    instruction(0x95, 0, 0, 0, 0), //        exit
  ]);
}

/** Loads the program. The kernel verifies it, and compiles it to machine code. */
function loadProgram(program: BigUint64Array<ArrayBuffer>): number {
  const license = new TextEncoder().encode("Dual MIT/GPL\0");
  const attribute = new Uint8Array(128);
  const view = new DataView(attribute.buffer);
  const code = new Uint8Array(program.buffer);
  view.setUint32(0, BPF_PROG_TYPE_XDP, true);
  view.setUint32(4, program.length, true);
  view.setBigUint64(8, address64(code), true);
  view.setBigUint64(16, address64(license), true);
  return bpf(BPF_PROG_LOAD, attribute, "load the XDP program");
}

/** Creates the map that leads from a queue of the interface to the socket. */
function createSocketMap(socket: number): number {
  const creation = new Uint8Array(72);
  new Int32Array(creation.buffer).set([BPF_MAP_TYPE_XSKMAP, 4, 4, 1]); // type, bytes of key and value, entries
  const map = bpf(BPF_MAP_CREATE, creation, "create a map for the socket");
  const key = words(0);
  const value = words(socket);
  const update = new Uint8Array(32);
  const view = new DataView(update.buffer);
  view.setUint32(0, map, true);
  view.setBigUint64(8, address64(key), true);
  view.setBigUint64(16, address64(value), true);
  bpf(BPF_MAP_UPDATE_ELEM, update, "put the socket into its map");
  return map;
}

/**
 * Attaches the program by a link: it is gone with the last descriptor of the link, so with this process, however it ends.
 * Native where the driver can do it, else generic.
 */
function attach(program: number, index: number, where: string): "native" | "generic" {
  const attribute = new Uint8Array(64);
  const fields = new Int32Array(attribute.buffer);
  fields.set([program, index, BPF_XDP, XDP_FLAGS_DRV_MODE]);
  if (callBpf(BPF_LINK_CREATE, attribute) >= 0) return "native";
  if (errno[0] === EBUSY) inUse(where);
  fields[3] = XDP_FLAGS_SKB_MODE;
  bpf(BPF_LINK_CREATE, attribute, `attach to ${where}`, "another XDP program may hold the interface");
  return "generic";
}

function inUse(where: string): never {
  console.error(`Cannot listen on ${where}: EADDRINUSE, another XDP program or AF_XDP socket holds the interface`);
  return Deno.exit(1);
}

/** A ring that is shared with the kernel. Producer and consumer are 32-bit counters that wrap around. */
interface Ring {
  producer: Int32Array;
  consumer: Int32Array;
  entries: Int32Array;
}

/** What an AF_XDP socket consists of. `memory` is the area of the frames that both sides address by their offset. */
export interface XdpSocket {
  fd: number;
  memory: ArrayBuffer;
  mode: "native" | "generic";
  mac: Uint8Array;
  mtu: number;
  rx: Ring;
  tx: Ring;
  fill: Ring;
  completion: Ring;
}

/** Registers the frames, RX_FRAMES and then TX_FRAMES of them, and makes the four rings. */
function makeRings(fd: number) {
  const bytes = (RX_FRAMES + TX_FRAMES) * FRAME_BYTES;
  const memory = tableMemory(bytes, "frames");
  const registration = new Uint8Array(32); // struct xdp_umem_reg
  const view = new DataView(registration.buffer);
  view.setBigUint64(0, address64(new Uint8Array(memory)), true);
  view.setBigUint64(8, BigInt(bytes), true);
  view.setUint32(16, FRAME_BYTES, true);
  view.setUint32(20, 2, true); // bytes free before a frame: so the header of IP, at 14, starts at a word
  must(libc.setsockopt(fd, SOL_XDP, XDP_UMEM_REG, registration, 32), "register memory for frames");
  for (const [option, entries] of [[XDP_UMEM_FILL_RING, RX_FRAMES], [XDP_RX_RING, RX_FRAMES]] as const) {
    must(libc.setsockopt(fd, SOL_XDP, option, words(entries), 4), "make the rings that receive");
  }
  for (const [option, entries] of [[XDP_UMEM_COMPLETION_RING, TX_FRAMES], [XDP_TX_RING, TX_FRAMES]] as const) {
    must(libc.setsockopt(fd, SOL_XDP, option, words(entries), 4), "make the rings that send");
  }
  libc.setsockopt(fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, words(TX_FRAMES), 4); // older kernels refuse it and send 32 per call
  const offsets = new BigUint64Array(16); // struct xdp_mmap_offsets: rx, tx, fill, completion; four words each
  must(libc.getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, offsets, words(128)), "read the layout of the rings");
  const ring = (which: number, offset: number | bigint, entries: number, entryWords: number): Ring => {
    const [producer, consumer, start] = [0, 1, 2].map((field) => Number(offsets[which * 4 + field]));
    const size = start! + entries * entryWords * 4;
    const shared = map(size, MAP_SHARED | MAP_POPULATE, fd, offset, "map a ring");
    return {
      producer: new Int32Array(shared, producer, 1),
      consumer: new Int32Array(shared, consumer, 1),
      entries: new Int32Array(shared, start, entries * entryWords),
    };
  };
  return {
    memory,
    rx: ring(0, RX_OFFSET, RX_FRAMES, DESCRIPTOR_WORDS),
    tx: ring(1, TX_OFFSET, TX_FRAMES, DESCRIPTOR_WORDS),
    fill: ring(2, FILL_OFFSET, RX_FRAMES, ADDRESS_WORDS),
    completion: ring(3, COMPLETION_OFFSET, TX_FRAMES, ADDRESS_WORDS),
  };
}

/** What the kernel knows of the interface: its hardware address and how long a packet may be. */
function describeInterface(name: string): { mac: Uint8Array; mtu: number } {
  const socket = must(libc.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "create a socket");
  const request = new Uint8Array(IFREQ_BYTES);
  request.set(new TextEncoder().encode(name));
  must(libc.ioctl(socket, SIOCGIFHWADDR, request), `read the hardware address of ${name}`);
  const mac = request.slice(IFREQ_MAC, IFREQ_MAC + 6);
  must(libc.ioctl(socket, SIOCGIFMTU, request), `read the MTU of ${name}`);
  const mtu = new DataView(request.buffer).getInt32(IFREQ_VALUE, true);
  libc.close(socket);
  return { mac, mtu };
}

/** Ends if the kernel itself answers on the address: to take it away would cut off whatever else uses it. */
function refuseOwnAddress(address: string): void {
  const socket = must(libc.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "create a socket");
  const requests = new Uint8Array(MAX_OWN_ADDRESSES * IFREQ_BYTES);
  const list = new Uint8Array(16); // struct ifconf: bytes, then a pointer to so many of struct ifreq
  const view = new DataView(list.buffer);
  view.setInt32(0, requests.length, true);
  view.setBigUint64(8, address64(requests), true);
  must(libc.ioctl(socket, SIOCGIFCONF, list), "list the addresses of this system");
  libc.close(socket);
  const wanted = address.split(".").map(Number);
  for (let at = 0; at < view.getInt32(0, true); at += IFREQ_BYTES) {
    const own = requests.subarray(at + IFREQ_VALUE + 4, at + IFREQ_VALUE + 8); // of struct sockaddr_in
    if (own.some((byte, i) => byte !== wanted[i])) continue;
    console.error(`Cannot serve ${address}: the kernel answers on it; choose an --address that nobody has`);
    Deno.exit(1);
  }
}

/**
 * Opens an AF_XDP socket on queue 0 of an interface. `steer` makes the program that chooses its frames; `where` stands in
 * the message if somebody else is there.
 */
export function openXdp(name: string, steer: (map: number) => BigUint64Array<ArrayBuffer>, where: string): XdpSocket {
  const index = libc.if_nametoindex(new TextEncoder().encode(`${name}\0`));
  must(index === 0 ? -1 : 0, `find the interface ${name}`, "ip link shows those that are there");
  const fd = libc.socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0 && errno[0] !== EPERM) unavailable("this kernel is built without CONFIG_XDP_SOCKETS.");
  must(fd, "create an AF_XDP socket");
  const description = describeInterface(name);
  const rings = makeRings(fd);
  const binding = new Uint8Array(16); // struct sockaddr_xdp
  const view = new DataView(binding.buffer);
  view.setUint16(0, AF_XDP, true);
  view.setUint16(2, XDP_COPY | XDP_USE_NEED_WAKEUP, true);
  view.setUint32(4, index, true);
  const bound = libc.bind(fd, binding, 16);
  if (bound < 0 && errno[0] === EBUSY) inUse(where);
  must(bound, `bind to queue 0 of ${name}`);
  const program = loadProgram(steer(createSocketMap(fd)));
  return { fd, mode: attach(program, index, where), ...description, ...rings };
}

const socketError = new Int32Array(1);

/**
 * Ends if the interface of a socket has gone. The kernel says so by the error of the socket and by nothing else: poll(2) sleeps
 * on, and there is nothing to send.
 */
function checkInterface(fd: number): void {
  must(libc.getsockopt(fd, SOL_SOCKET, SO_ERROR, socketError, words(4)), "read the error of the socket");
  if (socketError[0] !== 0) lost(socketError[0]!);
}

/** Without its interface a server has nobody to serve, and will not get it back. */
function lost(code: number): never {
  console.error(`Cannot go on: the interface is down or has gone, ${getSystemErrorName(-code)} (${code})`);
  return Deno.exit(1);
}

// ---- Protocol: the minimal HTTP/1.1 that all experiments speak -----------------------------------------------------

const bytes = (text: string) => new TextEncoder().encode(text);
const HELLO = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World";
const REFUSALS: [status: number, line: string][] = [
  [400, "400 Bad Request\r\n"],
  [404, "404 Not Found\r\n"],
  [405, "405 Method Not Allowed\r\nAllow: GET\r\n"],
  [408, "408 Request Timeout\r\n"],
  [431, "431 Request Header Fields Too Large\r\n"],
  [505, "505 HTTP Version Not Supported\r\n"],
];
const HELLO_KEPT = bytes(HELLO), HELLO_LAST = bytes(HELLO.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
const REFUSED_KEPT = new Map(
  REFUSALS.map(([status, line]) => [status, bytes(`HTTP/1.1 ${line}Content-Length: 0\r\n\r\n`)]),
);
const REFUSED_LAST = new Map(
  REFUSALS.map(([status, line]) => [status, bytes(`HTTP/1.1 ${line}Content-Length: 0\r\nConnection: close\r\n\r\n`)]),
);

/** The bytes of an answer; the last one of a connection says that it is. */
function answerTo(status: number, isLast: boolean): Uint8Array<ArrayBuffer> {
  if (status === 200) return isLast ? HELLO_LAST : HELLO_KEPT;
  return (isLast ? REFUSED_LAST : REFUSED_KEPT).get(status)!;
}

const HT = 9, LF = 10, CR = 13, SPACE = 32, COMMA = 44, ZERO = 48, NINE = 57, COLON = 58;
const ROOT = bytes("GET / HTTP/1.1\r\n"); // recognised byte by byte; any other request line is worth a regular expression
const TOKEN = "!#$%&'*+.^_`|~0-9A-Za-z-"; // the characters of a method or a field name (RFC 9110, section 5.6.2)
const REQUEST_LINE = new RegExp(`^([${TOKEN}]+) ([!-~]+) HTTP/(\\d)\\.(\\d)\r\n$`);
const TARGET = /^(http:\/\/[^/?]+)?([^?]*)/i; // absolute-form or origin-form; a query is ignored
const IS_TOKEN = Uint8Array.from(
  { length: 256 },
  (_, byte) => Number(RegExp(`[${TOKEN}]`).test(String.fromCharCode(byte))),
);
const CONNECTION = bytes("connection"), CLOSE = bytes("close");
const CONTENT_LENGTH = bytes("content-length"), TRANSFER_ENCODING = bytes("transfer-encoding");
const INCOMPLETE = 0, MALFORMED = 0; // no head and no line ends at 0

/** What `parseHead` found: the status to answer, the CPU to burn before, and whether the connection stays. */
const request = { status: 200, workUs: 0, keepAlive: true };

/**
 * Parses the head that starts at `from` and fills `request`. Returns the bytes of the head, INCOMPLETE as long as its end
 * has not come. `scanned`: how many of its bytes are known to hold no end. `input` has room for one byte behind `to`.
 */
function parseHead(input: Uint8Array, from: number, to: number, scanned: number): number {
  // A head that comes in pieces is looked through once, not once a piece.
  if (scanned > 3 && to - from < MAX_HEAD && blankLineEnd(input, from + scanned - 3, to) === 0) return INCOMPLETE;
  input[to] = 0; // no byte of a head is NUL, so every loop below ends here without a look at `to`
  request.status = 200;
  request.workUs = 0;
  request.keepAlive = true;
  const start = input[from] === CR && input[from + 1] === LF ? from + 2 : from; // one empty line (RFC 9112, 2.2)
  let matched = 0;
  while (matched < ROOT.length && input[start + matched] === ROOT[matched]) matched++;
  let end = matched === ROOT.length ? start + matched : parseRequestLine(input, start, to);
  if (end !== MALFORMED) end = parseFields(input, end);
  if (end !== MALFORMED && end - from <= MAX_HEAD) return end - from;
  // Rare: its end has not come, it is too long, or malformed. Then all input is refused, as the connection will close.
  const blank = blankLineEnd(input, start, to);
  const isTooLong = blank === 0 ? to - from >= MAX_HEAD : blank - from > MAX_HEAD;
  if (blank === 0 && !isTooLong) return INCOMPLETE;
  request.status = isTooLong ? 431 : 400;
  request.workUs = 0;
  request.keepAlive = false;
  return to - from;
}

/** Returns the end of the first blank line, 0 if there is none. */
function blankLineEnd(input: Uint8Array, from: number, to: number): number {
  for (let at = from + 3; at < to; at++) {
    if (input[at] === LF && input[at - 1] === CR && input[at - 2] === LF && input[at - 3] === CR) return at + 1;
  }
  return 0;
}

/** Parses any request line that is not ROOT. Returns its end. */
function parseRequestLine(input: Uint8Array, from: number, to: number): number {
  let end = from;
  while (end < to && input[end] !== LF) end++;
  const line = REQUEST_LINE.exec(String.fromCharCode(...input.subarray(from, ++end)));
  if (line === null) return MALFORMED;
  const [, method, target, major, minor] = line;
  const [, authority, path] = TARGET.exec(target!)!;
  const isRoot = path === "/" || (path === "" && authority !== undefined);
  const workUs = isRoot ? 0 : Number(/^\/work\/(\d{1,6})$/.exec(path!)?.[1] ?? NaN);
  if (major !== "1") request.status = 505;
  else if (method !== "GET") request.status = 405;
  else if (workUs <= MAX_WORK_US) request.workUs = workUs;
  else request.status = 404;
  if (major !== "1" || minor === "0") request.keepAlive = false;
  return end;
}

/** Walks the fields and the blank line, and returns its end. Only what decides whether the connection stays is read. */
function parseFields(input: Uint8Array, from: number): number {
  let at = from;
  while (input[at] !== CR) {
    const name = at;
    while (IS_TOKEN[input[at]!] === 1) at++;
    const colon = at;
    if (colon === name || input[colon] !== COLON) return MALFORMED;
    do {
      at++;
      while (input[at]! >= SPACE) at++;
    } while (input[at] === HT);
    if (input[at] !== CR || input[at + 1] !== LF) return MALFORMED;
    if (colon - name === CONNECTION.length && isWord(input, name, CONNECTION)) {
      if (hasClose(input, colon + 1, at)) request.keepAlive = false;
    } else if (colon - name === CONTENT_LENGTH.length && isWord(input, name, CONTENT_LENGTH)) {
      if (!isNumber(input, colon + 1, at)) return MALFORMED;
    } else if (colon - name === TRANSFER_ENCODING.length && isWord(input, name, TRANSFER_ENCODING)) {
      request.keepAlive = false; // bodies are never read, so behind one no request can follow
    }
    at += 2;
  }
  return input[at + 1] === LF ? at + 2 : MALFORMED;
}

/** Whether a token is the word, in any case: bit 0x20 tells a lower-case letter from an upper-case one. */
function isWord(input: Uint8Array, at: number, word: Uint8Array): boolean {
  for (let i = 0; i < word.length; i++) {
    if ((input[at + i]! | 0x20) !== word[i]) return false;
  }
  return true;
}

/** Whether `close` is an item of a list. */
function hasClose(input: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) {
    while (input[at] === SPACE || input[at] === HT) at++;
    const item = at;
    while (at < to && input[at] !== COMMA) at++;
    let end = at;
    while (end > item && (input[end - 1] === SPACE || input[end - 1] === HT)) end--;
    if (end - item === CLOSE.length && isWord(input, item, CLOSE)) return true;
  }
  return false;
}

/** Whether a Content-Length is digits and nothing else. If it is not zero, there is a body and the connection will close. */
function isNumber(input: Uint8Array, from: number, to: number): boolean {
  let at = from, end = to;
  while (input[at] === SPACE || input[at] === HT) at++;
  while (end > at && (input[end - 1] === SPACE || input[end - 1] === HT)) end--;
  if (at === end) return false;
  for (; at < end; at++) {
    if (input[at]! < ZERO || input[at]! > NINE) return false;
    if (input[at] !== ZERO) request.keepAlive = false;
  }
  return true;
}

/** Burns CPU time of this thread. Signals are heard meanwhile; clients wait, as they would for any computation. */
async function burn(us: number): Promise<void> {
  for (let left = us; left > 0; left -= SLICE_US) {
    if (left < us) await hearSignals();
    const untilUs = readCpuUs() + Math.min(left, SLICE_US);
    while (readCpuUs() < untilUs);
  }
}

/** CPU time of this thread: time in which it does not run is not counted. */
function readCpuUs(): number {
  libc.clock_gettime(CLOCK_THREAD_CPUTIME_ID, timespec); // fails for an unknown clock only
  return timespec[TIMESPEC_SECONDS]! * 1e6 + timespec[TIMESPEC_NANOSECONDS]! / 1e3;
}

// ---- Connection: 16 bytes in a table, and a record only while something is in flight -------------------------------
// A slot of the table: the peer's address; its port with the state in the low bits; two sequence numbers, or the number of
// a record. Sequence numbers are 32-bit integers that wrap around: a − b | 0 tells which of two comes first.

const SLOT_WORDS = 4;
const SLOT_IP = 0;
const SLOT_META = 1; // port: 16 bits, stamp: 7, probes: 3, MSS: 3, state: 3
const SLOT_RCV_NXT = 2; // the next byte that the peer will send; in state BUSY the number of the record
const SLOT_SND_NXT = 3; // the next byte that this end will send
const STATE = 7;
const EMPTY = 0;
const IDLE = 1;
const BUSY = 2;
const TIME_WAIT = 3;
const FIN_WAIT_2 = 4;
const IDLE_SACK = 5; // idle, and the peer understands SACK
const IDLE_BITS = 3; // of a state that is IDLE, with and without SACK
const MSS_SHIFT = 3;
const PROBES_SHIFT = 6;
const PROBES = 7;
const STAMP_SHIFT = 9;
const STAMP = 127; // in STAMP_S since the start: it wraps around after 640 s
const STAMP_S = 5;
const MSS = [88, 216, 536, 1024, 1220, 1380, 1440, 1460]; // three bits of a cookie say which; 88 is the least that Linux sends
const MSS_INDEX = 7; // what a SYN says, as four bits: the index of the MSS, and whether the peer understands SACK
const SACK = 8;

// A record, in words of a table of its own.
const RECORD_WORDS = 41;
const ENTRY = 0; // its slot, as an index of words
const IP = 1;
const PORT = 2;
const MAC_HIGH = 3; // 16 bits
const MAC_LOW = 4; // 32 bits
const FLAGS = 5;
const SEGMENT = 6; // bytes of data in one segment: the smaller of the two MSS
const TRAITS = 7; // what its SYN said
const RCV_NXT = 8;
const RCV_EDGE = 9; // the end of the window that was offered last: it must never go back
const UNA = 10; // the first byte that is not acknowledged
const NXT = 11; // the next byte to send; after a timeout it goes back to UNA
const MAX = 12; // the end of what was ever sent
const END = 13; // the end of what is queued, without FIN
const WND = 14; // the peer's window, and the numbers of the segment that it stood in
const WL1 = 15;
const WL2 = 16;
const CWND = 17; // congestion window, slow-start threshold, duplicate ACKs, end of the recovery
const SSTHRESH = 18;
const DUPACKS = 19;
const RECOVER = 20;
const SRTT = 21; // in ms × 8, RTTVAR in ms × 4, as Jacobson computes them without fractions
const RTTVAR = 22;
const RTO = 23; // ms
const RTT_SEQ = 24; // the byte whose acknowledgement is timed, and when it was sent
const RTT_AT = 25;
const TRIES = 26; // timeouts without a new acknowledgement
const RTO_AT = 27; // deadlines in ms, but for PROGRESS_AT, which is in the past; 0: none
const PROGRESS_AT = 28;
const HEAD_AT = 29;
const LINGER_AT = 30;
const HOLE_AT = 37;
const DEADLINES = [RTO_AT, HEAD_AT, LINGER_AT, HOLE_AT];
const FIRST = 31; // in the ring of answers: the first one that is not wholly acknowledged
const COUNT = 32; // answers in the ring
const UNA_OFFSET = 33; // bytes of the first answer that are acknowledged
const NXT_ANSWER = 34; // the answer that NXT lies in, counted from FIRST
const NXT_OFFSET = 35;
const WORK_US = 36; // CPU to burn before the next answer
const LATEST = 38; // the number of the piece behind a hole that came last
const CLOSED_AT = 39; // when the peer's window was probed first; 0: it is open, and the timer is that of retransmissions
const UNANSWERED = 40; // retransmissions and probes since anything was heard of the peer

// Of the word FLAGS.
const FIN_QUEUED = 1; // behind the last answer stands a FIN
const PEER_FIN = 2; // the peer has closed its half
const ACTIVE_CLOSE = 4; // this end closed first: TIME-WAIT is here
const DISCARD = 8; // the last answer is queued, what still comes is thrown away
const BLOCKED = 16; // input is kept and not read: the ring is full, or a request burns CPU
const IN_TURN = 32; // waits for its CPU
const TIMED = 64; // RTT_SEQ and RTT_AT are valid
const RECOVERY = 128; // fast recovery, RFC 6582
const ACK_OWED = 256;
const UNASKED = 512; // closed while idle: nothing that comes could be worth a wait
const LAST_WORK = 1024; // the answer behind the work is the last one

// TCP flags.
const FIN = 1;
const SYN = 2;
const RST = 4;
const PSH = 8;
const ACK = 16;

// What becomes of a segment that meets a connection.
const ACCEPT = 0;
const DROP = 1;
const RESET = 2;
const CHALLENGE = 3;
const REPLY = 4;

const ETHERNET = 14; // bytes of its header; in a frame IP starts there, TCP of an own frame 20 bytes later
const OWN_TCP = 34;
const OWN_DATA = 54;
const TYPE_IPV4 = 0x0800;
const TYPE_ARP = 0x0806;
const PROTOCOL_ICMP = 1;
const PROTOCOL_TCP = 6;
const HALF_A_COOKIE = -2; // the part of a cookie is right that does not depend on the sequence number
const NEIGHBOURS = 65_536; // peers of which something is remembered; a power of two
const NEIGHBOUR_WORDS = 8;
const NEIGHBOUR_MAC_HIGH = 1; // behind the address
const NEIGHBOUR_MAC_LOW = 2;
const SEEN_HIGH = 3; // another hardware address, which was seen once
const SEEN_LOW = 4;
const NEIGHBOUR_SRTT = 5;
const NEIGHBOUR_RTTVAR = 6;
const IP_VERSION = 0x4500; // halves of an own IPv4 header: version and length, flags, time to live
const IP_DONT_FRAGMENT = 0x4000;
const IP_TTL = 64 << 8;
const DONT_FRAGMENT_WORD = swapBytes(IP_DONT_FRAGMENT); // with no identification
const OPTION_MSS = 2; // kinds of TCP options
const OPTION_SACK_PERMITTED = 4;
const OPTION_SACK = 5;
const NOPS = 0x0101 << 16; // two options of one byte, which have no meaning but fill a word

/** Data behind a hole. Its array has room for one byte more, which the parser of heads needs. */
interface Piece {
  seq: number;
  length: number;
  hasFin: boolean;
  bytes: Uint8Array;
}

/** The number behind a piece. */
const endOf = ({ seq, length, hasFin }: Piece): number => seq + length + (hasFin ? 1 : 0) | 0;

/**
 * Bytes behind those that are kept, in the same memory where there is room. It doubles: a copy for each segment would be a
 * megabyte of garbage for each peer that asks and does not read, and malloc(3) does not give that back.
 */
function appended(kept: Uint8Array | null, more: Uint8Array): Uint8Array {
  const before = kept?.length ?? 0;
  const length = before + more.length;
  const room = kept?.buffer.byteLength ?? 0;
  if (kept !== null && length <= room) {
    const all = new Uint8Array(kept.buffer, 0, length);
    all.set(more, before);
    return all;
  }
  const memory = new ArrayBuffer(Math.max(length, Math.min(2 * room, RECEIVE_WINDOW)));
  const all = new Uint8Array(memory, 0, length);
  if (kept !== null) all.set(kept);
  all.set(more, before);
  return all;
}

/** The fourth word of a TCP header: its length, flags and window. */
const control = (header: number, flags: number, window: number): number => header << 26 | flags << 16 | window;

/** The state of an idle connection, with what its SYN said. */
const idleState = (traits: number): number => (traits & MSS_INDEX) << MSS_SHIFT | (traits < SACK ? IDLE : IDLE_SACK);

/** The 16-bit sum of RFC 1071 over bytes that start at a word, in the byte order of this machine, added to `sum`. */
export function checksum(words: Int32Array, bytes: Uint8Array, at: number, length: number, sum: number): number {
  let word = at >> 2;
  const end = word + (length >> 2);
  let low = 0; // a frame has fewer than 2 ** 9 words, so neither sum leaves 32 bits: | 0 spares the look whether it does
  let high = 0;
  while (word + 4 <= end) { // four at a time: a fourth of the comparisons and jumps
    const first = words[word]!;
    const second = words[word + 1]!;
    const third = words[word + 2]!;
    const fourth = words[word + 3]!;
    low = low + (first & 0xffff) + (second & 0xffff) + (third & 0xffff) + (fourth & 0xffff) | 0;
    high = high + (first >>> 16) + (second >>> 16) + (third >>> 16) + (fourth >>> 16) | 0;
    word += 4;
  }
  while (word < end) {
    const value = words[word]!;
    low = low + (value & 0xffff) | 0;
    high = high + (value >>> 16) | 0;
    word++;
  }
  sum += low + high;
  let rest = end << 2;
  if ((length & 2) !== 0) {
    sum += bytes[rest]! | bytes[rest + 1]! << 8;
    rest += 2;
  }
  if ((length & 1) !== 0) sum += bytes[rest]!;
  sum = (sum & 0xffff) + (sum >>> 16);
  return (sum & 0xffff) + (sum >>> 16);
}

/** The sum of the two halves of a word: what it adds to a sum of RFC 1071. */
const halves = (word: number): number => (word & 0xffff) + (word >>> 16);

/** A sum of many halves as one of 16 bits: what overflows is added below. The second step adds what the first one may leave. */
const fold = (sum: number): number => halves(halves(sum));

/** An answer as it is sent: a copy that is padded to whole words, and its sum in network order. */
interface PreparedAnswer {
  bytes: Uint8Array;
  words: Int32Array;
  sum: number;
}

function prepareAnswer(bytes: Uint8Array): PreparedAnswer {
  const padded = new Uint8Array(bytes.length + 3 & ~3);
  padded.set(bytes);
  const words = new Int32Array(padded.buffer);
  return { bytes, words, sum: swapBytes(checksum(words, padded, 0, padded.length, 0)) >>> 16 };
}

// All answers, numbered once at the start: that of a status with an even number, the last one of a connection behind it.
// The rings hold numbers, and a retransmission takes the bytes from the constant again.
const STATUSES = [200, ...REFUSALS.map(([status]) => status)];
const answers = STATUSES.flatMap((status) => [answerTo(status, false), answerTo(status, true)].map(prepareAnswer));
const answerLengths = Int32Array.from(answers, ({ bytes }) => bytes.length);
const answerNumbers = new Uint8Array(Math.max(...STATUSES) + 1);
for (const [i, status] of STATUSES.entries()) answerNumbers[status] = 2 * i;

/** SipHash-2-4 of 16 bytes, given as four words; 64 bits into `out`. In halves, because V8 has no 64-bit integers. */
export function sipHash(key: Int32Array, a: number, b: number, c: number, d: number, out: Int32Array): void {
  sip[0] = key[0]! ^ 0x70736575; // v0 … v3, the low half first
  sip[1] = key[1]! ^ 0x736f6d65;
  sip[2] = key[2]! ^ 0x6e646f6d;
  sip[3] = key[3]! ^ 0x646f7261;
  sip[4] = key[0]! ^ 0x6e657261;
  sip[5] = key[1]! ^ 0x6c796765;
  sip[6] = key[2]! ^ 0x79746573;
  sip[7] = key[3]! ^ 0x74656462;
  sipBlock(a, b);
  sipBlock(c, d);
  sipBlock(0, 16 << 24); // the last block: the length in its highest byte
  sip[4]! ^= 0xff;
  for (let round = 0; round < 4; round++) sipRound();
  out[0] = sip[0]! ^ sip[2]! ^ sip[4]! ^ sip[6]!;
  out[1] = sip[1]! ^ sip[3]! ^ sip[5]! ^ sip[7]!;
}
const sip = new Int32Array(8);

function sipBlock(low: number, high: number): void {
  sip[6]! ^= low;
  sip[7]! ^= high;
  sipRound();
  sipRound();
  sip[0]! ^= low;
  sip[1]! ^= high;
}

/** One round: four additions of 64 bits, each with its carry, and six rotations. */
function sipRound(): void {
  let v0 = sip[0]!, w0 = sip[1]!, v1 = sip[2]!, w1 = sip[3]!;
  let v2 = sip[4]!, w2 = sip[5]!, v3 = sip[6]!, w3 = sip[7]!;
  let low = v0 + v1 | 0;
  w0 = w0 + w1 + carry(low, v0) | 0;
  v0 = low;
  low = v1 << 13 | w1 >>> 19;
  w1 = (w1 << 13 | v1 >>> 19) ^ w0;
  v1 = low ^ v0;
  low = v2 + v3 | 0;
  w2 = w2 + w3 + carry(low, v2) | 0;
  v2 = low;
  low = v3 << 16 | w3 >>> 16;
  w3 = (w3 << 16 | v3 >>> 16) ^ w2;
  v3 = low ^ v2;
  low = w0; // rotated by 32: the halves change places
  w0 = v0;
  v0 = low;
  low = v2 + v1 | 0;
  w2 = w2 + w1 + carry(low, v2) | 0;
  v2 = low;
  low = v1 << 17 | w1 >>> 15;
  w1 = (w1 << 17 | v1 >>> 15) ^ w2;
  v1 = low ^ v2;
  low = v0 + v3 | 0;
  w0 = w0 + w3 + carry(low, v0) | 0;
  v0 = low;
  low = v3 << 21 | w3 >>> 11;
  w3 = (w3 << 21 | v3 >>> 11) ^ w0;
  v3 = low ^ v0;
  sip[0] = v0;
  sip[1] = w0;
  sip[2] = v1;
  sip[3] = w1;
  sip[4] = w2; // v2 is rotated by 32
  sip[5] = v2;
  sip[6] = v3;
  sip[7] = w3;
}
const carry = (sum: number, addend: number): number => (sum >>> 0) < (addend >>> 0) ? 1 : 0;

/** What a TCP needs from outside. Tests give it memory and functions of their own. */
export interface TcpOptions {
  /** The area of all frames. A frame starts 2 bytes behind a word, so that the header of IP starts at one. */
  memory: ArrayBuffer;
  /** The own address, as a number, and port. */
  address: number;
  port: number;
  mac: Uint8Array;
  /** The table of connections: SLOT_WORDS for each slot. Four fifths of the slots are used at most. */
  table: Int32Array;
  /** Connections with something in flight; MAX_BUSY unless given. */
  records?: number;
  /** The key of cookies and of the table: six random words. */
  secret: Int32Array;
  /** Seconds after which a connection without a request is closed; 0: never. */
  idleS?: number;
  /** The longest packet that the interface takes. */
  mtu?: number;
  /** Gives a frame to write into, or −1 if none is free: then nothing is sent, and a timer sends it again. */
  take(): number;
  /** Sends a frame that was taken. */
  send(frame: number, length: number): void;
}

/** What happened to packets; only the first three of them are usual. */
const packetCounts = () => ({
  received: 0,
  sent: 0,
  syns: 0,
  malformed: 0,
  bad_checksum: 0,
  fragments: 0,
  unwanted: 0,
  resets_sent: 0,
  holes: 0,
  unacceptable: 0,
  challenges: 0,
  bad_cookies: 0,
  table_full: 0,
  records_full: 0,
  frames_full: 0,
  evictions: 0,
  retransmissions: 0,
  fast_retransmissions: 0,
  window_probes: 0,
  keepalive_probes: 0,
});

/**
 * A TCP that is opened by peers only, and the ARP and ICMP echo that a host needs beside it. It reads frames in memory and
 * writes frames into memory, and does nothing else: no system call, no clock, no timer of the runtime.
 */
export class Tcp {
  readonly counts = { accepted: 0, served: 0, bytes_in: 0, bytes_out: 0, errors: {} as Record<string, number> };
  readonly packets = packetCounts();
  /** The time in ms, set by the caller before a frame or a tick; it starts at 1 or later, and never goes back. */
  nowMs = 1;
  /** Connections in the table. */
  open = 0;
  /** Those of them that have ended, and wait until nothing of them can be on its way any more. */
  leaving = 0;
  /** Those of them that have a record. */
  busy = 0;
  #stopping = false;
  #closedTo = 0; // after `stop`, the first slot that was not looked at

  readonly #options: TcpOptions;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #table: Int32Array;
  readonly #tableEnd: number; // in words
  readonly #scale: number; // maps 32 bits to a slot
  readonly #capacity: number;
  readonly #records: Int32Array;
  readonly #rings: Uint8Array;
  readonly #deadlines: Int32Array; // of each record in ms; 0: it is free
  readonly #free: Int32Array; // numbers of records
  #freeCount: number;
  readonly #working: number[] = []; // records with a request that burns CPU, and those that have ended since
  readonly #isWorking: Uint8Array; // each is in the queue once at most
  #hand = 0; // the record that is looked at next where one has to be ended
  #usedRecords = 0; // no record with a higher number was ever used
  readonly #kept: (Uint8Array | null)[];
  readonly #pieces: (Piece[] | null)[]; // behind a hole, in the order of their numbers; they may overlap
  #keptBytes = 0;
  #pieceBytes = 0;
  readonly #inbox = new Uint8Array(RECEIVE_WINDOW + FRAME_BYTES + 1);
  readonly #neighbours = new Int32Array(NEIGHBOURS * NEIGHBOUR_WORDS);
  readonly #macHigh: number;
  readonly #macLow: number;
  // What stands in each own frame, as words in the byte order of this machine: a store for each, and no swap.
  readonly #macWord: number;
  readonly #typeWord: number; // the end of the hardware address, and the type IPv4
  readonly #addressWord: number;
  readonly #ipSum: number; // of what each IPv4 header has, and of what each TCP segment has: all but what differs
  readonly #tcpSum: number;
  readonly #ownMss: number;
  readonly #hash = new Int32Array(2);
  #swept = 0; // the slot that the sweep looks at next
  #sweptMs = 1;
  #sweepDue = 0; // slots to look at, with the fraction that is left over
  #secondMs = -Infinity; // the second that the challenges below are for
  #challenges = 0;
  #probes = 0; // that may still be sent in this tick

  // The segment under work: fields, so that it costs no allocation.
  #frame = 0;
  #ip = 0;
  #port = 0;
  #asked = 0; // the port that it was sent to
  #seq = 0;
  #ack = 0;
  #flags = 0;
  #window = 0;
  #from = 0; // its data in memory
  #to = 0;

  constructor(options: TcpOptions) {
    const records = options.records ?? MAX_BUSY;
    const mac = new DataView(options.mac.buffer, options.mac.byteOffset, 6);
    this.#options = options;
    this.#bytes = new Uint8Array(options.memory);
    this.#view = new DataView(options.memory);
    this.#words = new Int32Array(options.memory);
    this.#table = options.table;
    this.#tableEnd = options.table.length;
    this.#scale = options.table.length / SLOT_WORDS / 2 ** 32;
    this.#capacity = Math.floor(options.table.length / SLOT_WORDS * LOAD_FACTOR);
    this.#records = new Int32Array(records * RECORD_WORDS);
    this.#rings = new Uint8Array(records * QUEUE);
    this.#deadlines = new Int32Array(records);
    this.#free = Int32Array.from({ length: records }, (_, i) => records - 1 - i); // low numbers first
    this.#freeCount = records;
    this.#isWorking = new Uint8Array(records);
    this.#kept = new Array(records).fill(null);
    this.#pieces = new Array(records).fill(null);
    this.#macHigh = mac.getUint16(0);
    this.#macLow = mac.getInt32(2);
    this.#macWord = swapBytes(this.#macHigh << 16 | this.#macLow >>> 16);
    this.#typeWord = swapBytes(this.#macLow << 16 | TYPE_IPV4);
    this.#addressWord = swapBytes(options.address);
    this.#ipSum = IP_VERSION + IP_DONT_FRAGMENT + IP_TTL + halves(options.address);
    this.#tcpSum = PROTOCOL_TCP + halves(options.address);
    this.#ownMss = Math.min(options.mtu ?? MTU, MTU) - 40;
  }

  // -- frames that come

  /** Takes one frame. Whatever is in it, at most the connection that it belongs to is touched. */
  receive(frame: number, length: number): void {
    this.packets.received++;
    this.#frame = frame;
    const type = length >= ETHERNET + 20 ? this.#view.getUint16(frame + 12) : 0;
    if (type === TYPE_IPV4) this.#onIp(frame + ETHERNET, length - ETHERNET);
    else if (type === TYPE_ARP) this.#onArp(frame + ETHERNET, length - ETHERNET);
    else this.packets.unwanted++;
  }

  /** RFC 826: answers a request for the own address. */
  #onArp(arp: number, length: number): void {
    const view = this.#view;
    const isRequest = length >= 28 && view.getUint32(arp) === 0x00010800 && view.getUint32(arp + 4) === 0x06040001;
    if (!isRequest || view.getInt32(arp + 24) !== this.#options.address) {
      this.packets.unwanted++;
      return;
    }
    const frame = this.#take();
    if (frame < 0) return;
    const answer = frame + ETHERNET;
    this.#ethernet(frame, view.getUint16(arp + 8), view.getInt32(arp + 10));
    view.setUint16(frame + 12, TYPE_ARP);
    view.setUint32(answer, 0x00010800);
    view.setUint32(answer + 4, 0x06040002);
    view.setUint16(answer + 8, this.#macHigh);
    view.setInt32(answer + 10, this.#macLow);
    view.setInt32(answer + 14, this.#options.address);
    this.#bytes.copyWithin(answer + 18, arp + 8, arp + 18);
    this.#send(frame, ETHERNET + 28);
  }

  /** RFC 791 and 1122: version, lengths, checksum, addresses. Options are skipped, fragments are not put together. */
  #onIp(ip: number, length: number): void {
    const view = this.#view;
    const first = this.#bytes[ip]!;
    const header = (first & 15) << 2;
    const total = view.getUint16(ip + 2);
    if (first >>> 4 !== 4 || header < 20 || total < header || total > length) {
      this.packets.malformed++;
      return;
    }
    if (checksum(this.#words, this.#bytes, ip, header, 0) !== 0xffff) {
      this.packets.bad_checksum++;
      return;
    }
    const source = view.getInt32(ip + 12);
    // Not from: this network (0/8), multicast or broadcast, or itself. 127/8 is no exception: a network namespace may
    // have another one at the other end of a veth there.
    const isForged = source >>> 24 === 0 || source >>> 28 >= 14 || source === this.#options.address;
    if (isForged || view.getInt32(ip + 16) !== this.#options.address) {
      this.packets.unwanted++;
      return;
    }
    if ((view.getUint16(ip + 6) & 0x3fff) !== 0) {
      this.packets.fragments++;
      return;
    }
    const protocol = this.#bytes[ip + 9]!;
    if (protocol === PROTOCOL_TCP) this.#onSegment(ip, ip + header, total - header);
    else if (protocol === PROTOCOL_ICMP) this.#onIcmp(ip, ip + header, total - header);
    else this.packets.unwanted++;
  }

  /** RFC 792: an echo is sent back as it came. All other messages are ignored: they could be forged (RFC 5927). */
  #onIcmp(ip: number, icmp: number, length: number): void {
    if (length < 8) {
      this.packets.malformed++;
      return;
    }
    if (checksum(this.#words, this.#bytes, icmp, length, 0) !== 0xffff) {
      this.packets.bad_checksum++;
      return;
    }
    if (this.#view.getUint16(icmp) !== 0x0800) {
      this.packets.unwanted++;
      return;
    }
    const frame = this.#take();
    if (frame < 0) return;
    const answer = frame + OWN_TCP;
    this.#bytes.copyWithin(answer, icmp, icmp + length);
    this.#view.setUint16(answer, 0);
    this.#view.setUint16(answer + 2, 0);
    const sum = checksum(this.#words, this.#bytes, answer, length, 0);
    this.#view.setUint16(answer + 2, ~sum, true);
    this.#ethernet(frame, this.#view.getUint16(this.#frame + 6), this.#view.getInt32(this.#frame + 8));
    this.#ipHeader(frame, this.#view.getInt32(ip + 12), PROTOCOL_ICMP, length);
    this.#send(frame, OWN_TCP + length);
  }

  /** RFC 9293, section 3.1: reads the header of a segment, and finds whom it belongs to. */
  #onSegment(ip: number, tcp: number, length: number): void {
    const view = this.#view;
    const header = length < 20 ? 0 : this.#bytes[tcp + 12]! >>> 4 << 2;
    if (header < 20 || header > length) {
      this.packets.malformed++;
      return;
    }
    if (checksum(this.#words, this.#bytes, tcp, length, this.#pseudoSum(ip, length)) !== 0xffff) {
      this.packets.bad_checksum++;
      return;
    }
    this.#ip = view.getInt32(ip + 12);
    this.#port = view.getUint16(tcp);
    this.#asked = view.getUint16(tcp + 2);
    this.#seq = view.getInt32(tcp + 4);
    this.#ack = view.getInt32(tcp + 8);
    this.#flags = this.#bytes[tcp + 13]! & (FIN | SYN | RST | ACK);
    this.#window = view.getUint16(tcp + 14);
    this.#from = tcp + header;
    this.#to = tcp + length;
    if (this.#port === 0) this.packets.malformed++;
    else if (this.#asked !== this.#options.port) this.#refuse();
    else this.#dispatch(tcp);
  }

  #dispatch(tcp: number): void {
    const entry = this.#find(this.#ip, this.#port);
    if (entry < 0) {
      this.#onStranger(entry, tcp);
      return;
    }
    const state = this.#table[entry + SLOT_META]! & STATE;
    if (state === BUSY) this.#onBusy(this.#table[entry + SLOT_RCV_NXT]!);
    else if ((state & IDLE_BITS) === IDLE) this.#onIdle(entry);
    else this.#onLeft(entry, state, tcp);
  }

  /** The sum over the pseudo header of RFC 9293, section 3.1, in the byte order of this machine. */
  #pseudoSum(ip: number, length: number): number {
    const source = this.#words[ip + 12 >> 2]!;
    const destination = this.#words[ip + 16 >> 2]!;
    return (source & 0xffff) + (source >>> 16) + (destination & 0xffff) + (destination >>> 16) +
      (PROTOCOL_TCP << 8) + (length >>> 8 | (length & 255) << 8);
  }

  // -- a segment that belongs to no connection

  /** RFC 9293, sections 3.10.7.1 and 3.10.7.2, with cookies: a SYN leaves nothing behind, the last ACK proves itself. */
  #onStranger(free: number, tcp: number): void {
    const kind = this.#flags & (FIN | SYN | RST | ACK);
    if ((kind & RST) !== 0) return;
    if (kind === SYN) {
      if (this.#stopping) this.#refuse();
      else this.#onSyn(tcp);
      return;
    }
    if ((kind & (SYN | ACK)) === 0) return;
    const cookie = (kind & SYN) === 0 ? this.#readCookie() : -1;
    if (cookie >= 0) this.#establish(~free, cookie);
    else if (cookie === HALF_A_COOKIE) this.packets.bad_cookies++; // behind the first segment, which is lost or late
    else this.#refuse();
  }

  /** RFC 9293, section 3.10.7.1: a reset that the sender will believe. */
  #refuse(): void {
    if ((this.#flags & RST) !== 0) return;
    this.packets.resets_sent++;
    const length = this.#to - this.#from + (this.#flags & FIN) + (this.#flags & SYN ? 1 : 0);
    if ((this.#flags & ACK) !== 0) this.#reply(this.#ack, 0, RST, 0);
    else this.#reply(0, this.#seq + length | 0, RST | ACK, 0);
  }

  #onSyn(tcp: number): void {
    this.packets.syns++;
    if (this.open >= this.#capacity) {
      this.packets.table_full++;
      return;
    }
    const traits = this.#readTraits(tcp);
    if (traits < 0) {
      this.packets.malformed++;
      return;
    }
    this.#reply(this.#makeCookie(traits), this.#seq + 1 | 0, SYN | ACK, RECEIVE_WINDOW, traits);
  }

  /**
   * RFC 9293, section 3.7.1, and RFC 2018, section 2: how much the peer takes in one segment, 536 bytes if it does not say,
   * and whether it understands SACK. Below 0 if the segments are too small.
   */
  #readTraits(tcp: number): number {
    const bytes = this.#bytes;
    let offered = 536;
    let sack = 0;
    for (let at = tcp + 20; at < this.#from && bytes[at] !== 0;) {
      if (bytes[at] === 1) {
        at++;
        continue;
      }
      const length = at + 1 < this.#from ? bytes[at + 1]! : 0;
      if (length < 2 || at + length > this.#from) break; // what stands behind it cannot be read
      if (bytes[at] === OPTION_MSS && length === 4) offered = bytes[at + 2]! << 8 | bytes[at + 3]!;
      if (bytes[at] === OPTION_SACK_PERMITTED && length === 2) sack = SACK;
      at += length;
    }
    let index = MSS.length - 1;
    while (index >= 0 && MSS[index]! > offered) index--;
    return index < 0 ? -1 : sack | index;
  }

  /** The number of the period of a cookie, of which it holds four bits. */
  #period(): number {
    return Math.floor(this.nowMs / COOKIE_PERIOD_MS);
  }

  /**
   * RFC 4987, section 3.6: an initial sequence number that holds what else would be kept. Four bits say when it was made,
   * four are what the SYN said, four depend on the connection and on these, and 20 on the peer's sequence number as well. So
   * a segment that overtook the first one is known as such and not answered by a reset; one in a million is mistaken.
   */
  #cookie(traits: number, period: number, peerIsn: number): number {
    const hash = this.#hash;
    sipHash(this.#options.secret, this.#ip, this.#port, period, traits, hash);
    const common = hash[0]! & 15;
    // Keyed by 52 bits that nobody has seen: the product's high bits depend on all bits of the number.
    const own = Math.imul(peerIsn, hash[1]! | 1) + hash[0]! >>> 12;
    return (period & 15) << 28 | traits << 24 | common << 20 | own;
  }

  #makeCookie(traits: number): number {
    return this.#cookie(traits, this.#period(), this.#seq);
  }

  /** What the SYN said, if the segment under work ends a handshake; else HALF_A_COOKIE, or −1. */
  #readCookie(): number {
    const cookie = this.#ack - 1 | 0;
    const period = this.#period();
    const age = period - (cookie >>> 28) & 15;
    if (age > 1) return -1;
    const traits = cookie >>> 24 & 15;
    const right = this.#cookie(traits, period - age, this.#seq - 1 | 0);
    if (right === cookie) return traits;
    return (right ^ cookie) >>> 20 === 0 ? HALF_A_COOKIE : -1;
  }

  /** The handshake is complete: the connection gets its 16 bytes, and the segment is its first one. */
  #establish(entry: number, traits: number): void {
    if (this.open >= this.#capacity) {
      this.packets.table_full++;
      return;
    }
    this.counts.accepted++;
    this.open++;
    const table = this.#table;
    table[entry + SLOT_IP] = this.#ip;
    table[entry + SLOT_META] = this.#port << 16 | this.#stamp() << STAMP_SHIFT | idleState(traits);
    table[entry + SLOT_RCV_NXT] = this.#seq;
    table[entry + SLOT_SND_NXT] = this.#ack;
    this.#learn();
    if (this.#stopping && this.#from === this.#to) this.#close(entry);
    else this.#onIdle(entry);
  }

  // -- a segment that belongs to a connection

  /**
   * RFC 9293, section 3.10.7.4, steps 1 to 5, with RFC 5961: what becomes of the segment under work. `window` is what is
   * open behind `rcvNxt`; `una` and `max` bound what the peer may acknowledge.
   */
  #judge(rcvNxt: number, window: number, una: number, max: number): number {
    const offset = this.#seq - rcvNxt | 0;
    const flags = this.#flags;
    if ((flags & RST) !== 0) return offset === 0 ? RESET : offset > 0 && offset < window ? CHALLENGE : DROP;
    if ((flags & SYN) !== 0) return CHALLENGE;
    if ((flags & ACK) === 0) return DROP;
    const length = this.#to - this.#from + (flags & FIN);
    if (offset > 0 ? offset >= window : offset !== 0 && offset + length <= 0) {
      this.packets.unacceptable++;
      return length > 0 || offset === -1 ? REPLY : CHALLENGE; // −1: a keepalive probe, RFC 1122, section 4.2.3.6
    }
    if ((this.#ack - max | 0) > 0 || (this.#ack - una | 0) < -MAX_WINDOW) return CHALLENGE;
    return ACCEPT;
  }

  /** RFC 5961, section 7: whether one more challenge may be sent in this second. */
  #mayChallenge(): boolean {
    if (this.nowMs - this.#secondMs >= 1000) {
      this.#secondMs = this.nowMs;
      this.#challenges = Math.floor(MAX_CHALLENGES_PER_S * (0.5 + Math.random() / 2));
    }
    if (this.#challenges <= 0) return false;
    this.#challenges--;
    this.packets.challenges++;
    return true;
  }

  #onIdle(entry: number): void {
    const table = this.#table;
    const rcvNxt = table[entry + SLOT_RCV_NXT]!;
    const sndNxt = table[entry + SLOT_SND_NXT]!;
    const verdict = this.#judge(rcvNxt, RECEIVE_WINDOW, sndNxt, sndNxt);
    if (verdict === RESET) {
      this.#countError("ECONNRESET");
      this.#remove(entry);
    } else if (verdict === REPLY || verdict === CHALLENGE && this.#mayChallenge()) {
      this.#reply(sndNxt, rcvNxt, ACK, RECEIVE_WINDOW);
    }
    if (verdict !== ACCEPT) return;
    table[entry + SLOT_META]! &= ~(PROBES << PROBES_SHIFT); // it lives
    if (this.#from === this.#to && (this.#flags & FIN) === 0) return;
    if ((this.#seq - rcvNxt | 0) > 0 && this.#freeCount <= this.#deadlines.length * HOLE_SHARE) {
      this.packets.holes++;
      this.#reply(sndNxt, rcvNxt, ACK, RECEIVE_WINDOW);
      return;
    }
    // Where one is ended, entries of the table may move.
    const record = this.#promote(this.#freeCount === 0 && this.#evict() ? this.#find(this.#ip, this.#port) : entry);
    if (record < 0) return;
    this.#learnAddress(record * RECORD_WORDS);
    this.#records[record * RECORD_WORDS + WL1] = this.#seq - 1; // so that its window counts, also where it overlaps
    this.#work(record);
  }

  #onBusy(record: number): void {
    const at = record * RECORD_WORDS;
    const r = this.#records;
    const window = r[at + RCV_EDGE]! - r[at + RCV_NXT]! | 0;
    const verdict = this.#judge(r[at + RCV_NXT]!, window, r[at + UNA]!, r[at + MAX]!);
    if (verdict === DROP) return;
    this.#learnAddress(at);
    if (verdict === ACCEPT) this.#work(record);
    else if (verdict === RESET) this.#drop(record, "ECONNRESET");
    else if (verdict === REPLY || verdict === CHALLENGE && this.#mayChallenge()) this.#sendAck(record);
  }

  /** All that an acceptable segment brings: an acknowledgement, data, a FIN; and all that leaves because of it. */
  #work(record: number): void {
    const at = record * RECORD_WORDS;
    const r = this.#records;
    this.#onAck(record);
    if (!this.#onData(record)) return;
    const canResume = (r[at + FLAGS]! & (BLOCKED | IN_TURN)) === BLOCKED && r[at + COUNT]! < QUEUE / 2;
    if (canResume && !this.#resume(record)) return;
    this.#output(record);
    this.#settle(record);
  }

  /** A connection of which only 16 bytes are left: it waits until nothing of it can be on its way any more. */
  #onLeft(entry: number, state: number, tcp: number): void {
    const table = this.#table;
    const rcvNxt = table[entry + SLOT_RCV_NXT]!;
    const sndNxt = table[entry + SLOT_SND_NXT]!;
    const offset = this.#seq - rcvNxt | 0;
    const kind = this.#flags & (SYN | RST | ACK);
    if ((kind & RST) !== 0) {
      if (state === FIN_WAIT_2 && offset === 0) this.#remove(entry); // TIME-WAIT is not cut short: RFC 1337
    } else if (kind === SYN) {
      // RFC 1122, section 4.2.2.13: a SYN beyond all that was received starts again. The cookie's answer proves it.
      if (state === TIME_WAIT && offset >= 0 && !this.#stopping) this.#onSyn(tcp);
      else if (this.#mayChallenge()) this.#reply(sndNxt, rcvNxt, ACK, RECEIVE_WINDOW);
    } else if (kind === ACK) {
      const cookie = state === TIME_WAIT && offset > 0 ? this.#readCookie() : -1;
      if (cookie >= 0) this.#begin(entry, cookie);
      else this.#onLate(entry, state, offset);
    }
  }

  /** A new connection with the addresses of one in TIME-WAIT. */
  #begin(entry: number, cookie: number): void {
    this.#remove(entry);
    this.#establish(~this.#find(this.#ip, this.#port), cookie);
  }

  /** RFC 9293, section 3.10.7.4, for FIN-WAIT-2 without a reader, and for TIME-WAIT. */
  #onLate(entry: number, state: number, offset: number): void {
    const table = this.#table;
    const hasData = this.#from < this.#to;
    const hasFin = (this.#flags & FIN) !== 0;
    if (state === FIN_WAIT_2 && hasData && offset >= 0) {
      this.#refuse(); // nobody reads it: RFC 1122, section 4.2.2.13
      this.#remove(entry);
      return;
    }
    if (state === FIN_WAIT_2 && hasFin && offset === 0) {
      table[entry + SLOT_RCV_NXT] = table[entry + SLOT_RCV_NXT]! + 1;
      this.#setState(entry, TIME_WAIT);
    }
    if (!hasData && !hasFin && offset !== -1) return;
    if (state === TIME_WAIT && hasFin) this.#setState(entry, TIME_WAIT); // the last ACK was lost: the time starts again
    this.#reply(table[entry + SLOT_SND_NXT]!, table[entry + SLOT_RCV_NXT]!, ACK, RECEIVE_WINDOW);
  }

  /** `state`: with the index of the MSS, where it is an idle one. */
  #setState(entry: number, state: number): void {
    const port = this.#table[entry + SLOT_META]! & 0xffff0000;
    this.#table[entry + SLOT_META] = port | this.#stamp() << STAMP_SHIFT | state;
  }

  // -- a record: made when something is in flight, given back when nothing is

  /** Gives an idle connection a record, for the segment under work or to close it; −1 if there is none. */
  #promote(entry: number): number {
    if (this.#freeCount === 0) {
      this.packets.records_full++; // the peer sends it again
      return -1;
    }
    const record = this.#free[--this.#freeCount]!;
    if (record >= this.#usedRecords) this.#usedRecords = record + 1;
    this.busy++;
    const table = this.#table;
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const meta = table[entry + SLOT_META]!;
    const index = meta >>> MSS_SHIFT & MSS_INDEX;
    const rcvNxt = table[entry + SLOT_RCV_NXT]!;
    const sndNxt = table[entry + SLOT_SND_NXT]!;
    r.fill(0, at, at + RECORD_WORDS);
    r[at + ENTRY] = entry;
    r[at + IP] = table[entry + SLOT_IP]!;
    r[at + PORT] = meta >>> 16;
    r[at + TRAITS] = (meta & STATE) === IDLE_SACK ? SACK | index : index;
    r[at + SEGMENT] = Math.min(MSS[index]!, this.#ownMss);
    r[at + RCV_NXT] = rcvNxt;
    r[at + RCV_EDGE] = rcvNxt + RECEIVE_WINDOW;
    r[at + UNA] = sndNxt;
    r[at + NXT] = sndNxt;
    r[at + MAX] = sndNxt;
    r[at + END] = sndNxt;
    r[at + WND] = MAX_WINDOW; // until a segment says otherwise
    r[at + WL1] = rcvNxt;
    r[at + WL2] = sndNxt;
    r[at + CWND] = INITIAL_WINDOW * r[at + SEGMENT]!;
    r[at + SSTHRESH] = MAX_WINDOW;
    r[at + RECOVER] = sndNxt;
    this.#recallNeighbour(at);
    r[at + RTO] = this.#timeoutOf(at);
    this.#deadlines[record] = this.#in(PROGRESS_MS);
    table[entry + SLOT_META] = meta & 0xffff0000 | BUSY;
    table[entry + SLOT_RCV_NXT] = record;
    return record;
  }

  #release(record: number): void {
    const kept = this.#kept[record]!;
    if (kept !== null) {
      this.#keptBytes -= kept.buffer.byteLength;
      this.#kept[record] = null;
    }
    this.#dropPieces(record);
    this.#deadlines[record] = 0;
    this.#records[record * RECORD_WORDS + FLAGS] = 0; // so `nextWork` finds no IN_TURN
    this.#free[this.#freeCount++] = record;
    this.busy--;
  }

  /** Leaves 16 bytes of a connection, in one of the states that need no record. */
  #demote(record: number, state: number): void {
    const r = this.#records;
    if (state !== IDLE) this.leaving++;
    const at = record * RECORD_WORDS;
    const entry = r[at + ENTRY]!;
    this.#setState(entry, state === IDLE ? idleState(r[at + TRAITS]!) : state);
    this.#table[entry + SLOT_RCV_NXT] = r[at + RCV_NXT]!;
    this.#table[entry + SLOT_SND_NXT] = r[at + MAX]!;
    this.#release(record);
  }

  /** Forgets a connection that has a record. */
  #forget(record: number): void {
    const entry = this.#records[record * RECORD_WORDS + ENTRY]!;
    this.#release(record);
    this.#remove(entry);
  }

  #drop(record: number, error: string): void {
    this.#countError(error);
    this.#forget(record);
  }

  /** Ends a connection by RST, because what it needs is not there or its peer is not. */
  #abort(record: number, error: string): void {
    this.#sendReset(record);
    this.#drop(record, error);
  }

  /**
   * RFC 5961, section 3.2: a reset is believed at the number that the peer expects, and outside of its window it is not even
   * answered. The byte of a probe lies behind a closed window, and the peer may not have taken it.
   */
  #sendReset(record: number): void {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const edge = r[at + UNA]! + r[at + WND]! | 0;
    this.packets.resets_sent++;
    this.#control(record, (r[at + MAX]! - edge | 0) > 0 ? edge : r[at + MAX]!, RST | ACK);
  }

  /**
   * Ends the connection that has waited longest among some, so that clients that have gone, send half heads or close windows
   * do not starve all others: RFC 6429, section 4. To be called where no record is free. False if none of them waits.
   */
  #evict(): boolean {
    const records = this.#deadlines.length;
    let oldest = -1;
    let longestMs = -1;
    for (let looks = Math.min(EVICTION_SAMPLE, records); looks > 0; looks--) {
      const waitedMs = this.#waitedMs(this.#hand * RECORD_WORDS);
      if (waitedMs > longestMs) {
        longestMs = waitedMs;
        oldest = this.#hand;
      }
      this.#hand = this.#hand + 1 === records ? 0 : this.#hand + 1;
    }
    if (oldest < 0) return false;
    this.packets.evictions++;
    if (this.#records[oldest * RECORD_WORDS + HEAD_AT] === 0) {
      this.#abort(oldest, "ENOBUFS");
      return true;
    }
    this.#onLateHead(oldest);
    this.#output(oldest);
    this.#sendReset(oldest);
    this.#forget(oldest);
    return true;
  }

  /**
   * How long a record has waited for the rest of a head, or for a window to open; −1 if it does neither. A peer that acknowledges
   * nothing comes before all others: nobody may be there any more.
   */
  #waitedMs(at: number): number {
    const r = this.#records;
    if (r[at + UNANSWERED]! >= SILENT_TRIES) return PROGRESS_MS + this.#since(r[at + PROGRESS_AT]!);
    if (r[at + HEAD_AT] !== 0) return HEAD_MS + this.#since(r[at + HEAD_AT]!);
    return r[at + CLOSED_AT] === 0 ? -1 : Math.min(this.#since(r[at + CLOSED_AT]!), PROGRESS_MS - 1);
  }

  #countError(name: string | number): void {
    this.counts.errors[name] = (this.counts.errors[name] ?? 0) + 1;
  }

  // -- what a segment acknowledges

  /** RFC 9293, section 3.10.7.4, step 5: acknowledgement and window. */
  #onAck(record: number): void {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const seq = this.#seq;
    const ack = this.#ack;
    const acked = ack - r[at + UNA]! | 0;
    if (acked < 0) return; // older than what is known
    r[at + UNANSWERED] = 0;
    const before = r[at + WND]!;
    const newer = seq - r[at + WL1]! | 0;
    if (newer > 0 || newer === 0 && (ack - r[at + WL2]! | 0) >= 0) {
      r[at + WND] = this.#window;
      r[at + WL1] = seq;
      r[at + WL2] = ack;
      if (before === 0 && this.#window > 0) r[at + RTO_AT] = 0; // the persist timer has done its work
    }
    if (acked > 0) this.#advance(record, ack, acked);
    else if (this.#isDuplicate(at, before)) this.#onDuplicate(record);
    if (r[at + CLOSED_AT] !== 0 && r[at + WND]! > 0) {
      r[at + CLOSED_AT] = 0;
      this.#rewind(at); // the byte of the probe may have been thrown away
    }
  }

  /** RFC 5681, section 2. */
  #isDuplicate(at: number, window: number): boolean {
    const r = this.#records;
    return r[at + MAX] !== r[at + UNA] && this.#from === this.#to && (this.#flags & FIN) === 0 &&
      this.#window === window && r[at + CLOSED_AT] === 0;
  }

  #advance(record: number, ack: number, acked: number): void {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const data = Math.min(acked, r[at + END]! - r[at + UNA]! | 0); // FIN has a number as well, and no byte
    r[at + UNA] = ack;
    this.#discardAnswers(record, data);
    if ((r[at + NXT]! - ack | 0) < 0) {
      r[at + NXT] = ack;
      r[at + NXT_ANSWER] = 0;
      r[at + NXT_OFFSET] = r[at + UNA_OFFSET]!;
    }
    if ((r[at + FLAGS]! & TIMED) !== 0 && (ack - r[at + RTT_SEQ]! | 0) > 0) this.#measure(at);
    this.#congestion(record, ack, acked);
    r[at + DUPACKS] = 0;
    r[at + TRIES] = 0;
    r[at + RTO_AT] = 0;
    if (r[at + MAX] !== ack) this.#schedule(record, RTO_AT, r[at + RTO]!);
    r[at + PROGRESS_AT] = this.nowMs;
  }

  /** Takes so many bytes off the front of the ring of answers. */
  #discardAnswers(record: number, data: number): void {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const ring = record * QUEUE;
    let rest = data + r[at + UNA_OFFSET]!;
    let first = r[at + FIRST]!;
    let gone = 0;
    while (gone < r[at + COUNT]!) {
      const length = answerLengths[this.#rings[ring + first]!]!;
      if (rest < length) break;
      rest -= length;
      first = first + 1 & QUEUE - 1;
      gone++;
    }
    r[at + FIRST] = first;
    r[at + COUNT]! -= gone;
    r[at + NXT_ANSWER] = r[at + NXT_ANSWER]! - gone; // below 0 only where NXT is set again
    r[at + UNA_OFFSET] = rest;
  }

  /** RFC 6298, section 2, in fixed point. */
  #measure(at: number): void {
    const r = this.#records;
    const ms = Math.max(1, this.#since(r[at + RTT_AT]!));
    if (r[at + SRTT] === 0) {
      r[at + SRTT] = ms << 3;
      r[at + RTTVAR] = ms << 1;
    } else {
      const error = ms - (r[at + SRTT]! >> 3);
      r[at + SRTT]! += error;
      r[at + RTTVAR]! += Math.abs(error) - (r[at + RTTVAR]! >> 2);
    }
    r[at + FLAGS]! &= ~TIMED;
    r[at + RTO] = this.#timeoutOf(at); // a back-off ends here, and nowhere else
    const neighbour = this.#neighbourOf(r[at + IP]!);
    if (this.#neighbours[neighbour] !== r[at + IP]) return;
    this.#neighbours[neighbour + NEIGHBOUR_SRTT] = r[at + SRTT]!;
    this.#neighbours[neighbour + NEIGHBOUR_RTTVAR] = r[at + RTTVAR]!;
  }

  /** RFC 9040, section 4: 16 bytes hold no round trip, so that of the last exchange with the same address counts. */
  #recallNeighbour(at: number): void {
    const r = this.#records;
    const neighbour = this.#neighbourOf(r[at + IP]!);
    if (this.#neighbours[neighbour] !== r[at + IP]) return;
    this.#useNeighbour(at, neighbour);
    r[at + SRTT] = this.#neighbours[neighbour + NEIGHBOUR_SRTT]!;
    r[at + RTTVAR] = this.#neighbours[neighbour + NEIGHBOUR_RTTVAR]!;
  }

  #timeoutOf(at: number): number {
    const r = this.#records;
    if (r[at + SRTT] === 0) return RTO_INITIAL_MS;
    const rto = (r[at + SRTT]! >> 3) + Math.max(TICK_MS, r[at + RTTVAR]!);
    return Math.min(RTO_MAX_MS, Math.max(RTO_MIN_MS, rto));
  }

  /** RFC 5681, section 3.1, and RFC 6582, section 3.2, for an acknowledgement of new data. */
  #congestion(record: number, ack: number, acked: number): void {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const segment = r[at + SEGMENT]!;
    if ((r[at + FLAGS]! & RECOVERY) !== 0) {
      if ((ack - r[at + RECOVER]! | 0) >= 0) {
        r[at + FLAGS]! &= ~RECOVERY;
        r[at + CWND] = r[at + SSTHRESH]!;
      } else {
        this.#sendAgain(record); // a partial acknowledgement: the next hole
        r[at + CWND] = Math.max(segment, r[at + CWND]! - acked + segment);
      }
    } else if (r[at + CWND]! < r[at + SSTHRESH]!) r[at + CWND]! += Math.min(acked, segment);
    else r[at + CWND]! += Math.max(1, Math.floor(segment * segment / r[at + CWND]!));
    r[at + CWND] = Math.min(r[at + CWND]!, 2 * MAX_WINDOW);
  }

  /** RFC 5681, section 3.2: the third duplicate says that a segment is lost, each further one that another has arrived. */
  #onDuplicate(record: number): void {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const segment = r[at + SEGMENT]!;
    r[at + DUPACKS]!++;
    if ((r[at + FLAGS]! & RECOVERY) !== 0) r[at + CWND] = Math.min(r[at + CWND]! + segment, 2 * MAX_WINDOW);
    else if (r[at + DUPACKS] === 3 && (r[at + UNA]! - r[at + RECOVER]! | 0) >= 0) {
      const flight = r[at + MAX]! - r[at + UNA]! | 0;
      r[at + SSTHRESH] = Math.max(flight >> 1, 2 * segment);
      r[at + RECOVER] = r[at + MAX]!;
      r[at + FLAGS]! |= RECOVERY;
      r[at + CWND] = r[at + SSTHRESH]! + 3 * segment;
      this.packets.fast_retransmissions++;
      this.#sendAgain(record);
    }
  }

  // -- what a segment brings

  /** RFC 9293, section 3.10.7.4, steps 7 and 8: data and FIN. False if the connection was dropped. */
  #onData(record: number): boolean {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const offset = this.#seq - r[at + RCV_NXT]! | 0;
    const hasFin = (this.#flags & FIN) !== 0;
    if (this.#from === this.#to && !hasFin) return true;
    r[at + FLAGS]! |= ACK_OWED;
    if ((r[at + FLAGS]! & PEER_FIN) !== 0) return true;
    if (offset > 0) {
      this.packets.holes++;
      this.#keepPiece(record, hasFin);
      return true;
    }
    if (!this.#accept(record, this.#bytes, this.#from - offset, this.#to, hasFin)) return false; // without what is known
    return this.#pieces[record] === null || this.#acceptPieces(record);
  }

  /** Takes the next bytes, and the FIN behind them. False if the connection was dropped. */
  #accept(record: number, input: Uint8Array, from: number, to: number, hasFin: boolean): boolean {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const length = Math.min(to - from, r[at + RCV_EDGE]! - r[at + RCV_NXT]! | 0);
    if (length > 0) {
      r[at + RCV_NXT]! += length;
      this.counts.bytes_in += length;
      if ((r[at + FLAGS]! & DISCARD) === 0 && !this.#onInput(record, input, from, from + length)) return false;
    }
    if (hasFin && length === to - from) {
      r[at + RCV_NXT]!++;
      r[at + FLAGS]! |= PEER_FIN;
      this.#dropPieces(record);
      if ((r[at + FLAGS]! & BLOCKED) === 0) this.#finish(record);
    }
    return true;
  }

  /** RFC 9293, section 3.10.7.4: keeps the segment under work, which lies behind a hole, so that only the hole comes again. */
  #keepPiece(record: number, hasFin: boolean): void {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const seq = this.#seq;
    const length = this.#to - this.#from;
    const isWhole = (r[at + RCV_EDGE]! - seq | 0) >= length;
    if (!isWhole || (r[at + FLAGS]! & DISCARD) !== 0) return;
    const pieces = this.#pieces[record] ?? [];
    let place = pieces.length;
    while (place > 0 && (pieces[place - 1]!.seq - seq | 0) > 0) place--;
    const before = place === 0 ? undefined : pieces[place - 1]!;
    r[at + LATEST] = seq;
    if (before !== undefined && (endOf(before) - seq | 0) >= length + (hasFin ? 1 : 0)) return; // known
    if (pieces.length === MAX_PIECES || this.#pieceBytes + length + PIECE_BYTES > MAX_PIECE_BYTES) return;
    const bytes = new Uint8Array(length + 1);
    for (let i = 0; i < length; i++) bytes[i] = this.#bytes[this.#from + i]!;
    pieces.splice(place, 0, { seq, length, hasFin, bytes });
    this.#pieceBytes += length + PIECE_BYTES;
    if (this.#pieces[record] !== null) return;
    this.#pieces[record] = pieces;
    this.#schedule(record, HOLE_AT, HOLE_MS);
  }

  /** Takes the pieces that are not behind a hole any more. False if the connection was dropped. */
  #acceptPieces(record: number): boolean {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    for (;;) {
      const pieces = this.#pieces[record]!;
      if (pieces === null) return true; // FIN, or the last answer, has ended them
      const [piece] = pieces;
      const known = r[at + RCV_NXT]! - piece!.seq | 0;
      if (known < 0) return true;
      pieces.shift();
      this.#pieceBytes -= piece!.length + PIECE_BYTES;
      if (pieces.length === 0) this.#dropPieces(record);
      const { bytes, length, hasFin } = piece!;
      if (known < length + (hasFin ? 1 : 0) && !this.#accept(record, bytes, known, length, hasFin)) return false;
    }
  }

  #dropPieces(record: number): void {
    const pieces = this.#pieces[record]!;
    if (pieces === null) return;
    for (const { length } of pieces) this.#pieceBytes -= length + PIECE_BYTES;
    this.#pieces[record] = null;
    this.#records[record * RECORD_WORDS + HOLE_AT] = 0;
  }

  /** Queues a FIN. What is kept then is a head that will never be complete, or nothing. */
  #finish(record: number): void {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    this.#keep(record, null);
    this.#dropPieces(record);
    r[at + HEAD_AT] = 0;
    if ((r[at + FLAGS]! & FIN_QUEUED) !== 0) return;
    if ((r[at + FLAGS]! & PEER_FIN) === 0) r[at + FLAGS]! |= ACTIVE_CLOSE;
    r[at + FLAGS]! |= FIN_QUEUED | DISCARD;
    if (r[at + UNA] === r[at + END]) r[at + PROGRESS_AT] = this.nowMs;
  }

  /** Takes data in order. Usually whole heads, which are read where they lie. False if the connection was dropped. */
  #onInput(record: number, input: Uint8Array, from: number, to: number): boolean {
    const kept = this.#kept[record]!;
    if ((this.#records[record * RECORD_WORDS + FLAGS]! & BLOCKED) !== 0) {
      return this.#keep(record, appended(kept, input.subarray(from, to)));
    }
    if (kept === null) return this.#answerAll(record, input, from, to, 0);
    const length = kept.length + to - from;
    this.#inbox.set(kept);
    this.#inbox.set(input.subarray(from, to), kept.length);
    return this.#answerAll(record, this.#inbox, 0, length, kept.length);
  }

  /** Goes on with what is kept, after its connection had to wait. False if the connection was dropped. */
  #resume(record: number): boolean {
    const kept = this.#kept[record]!;
    this.#records[record * RECORD_WORDS + FLAGS]! &= ~BLOCKED;
    if (kept !== null) {
      this.#inbox.set(kept);
      if (!this.#answerAll(record, this.#inbox, 0, kept.length, 0)) return false;
    }
    const flags = this.#records[record * RECORD_WORDS + FLAGS]!;
    if ((flags & (PEER_FIN | BLOCKED)) === PEER_FIN) this.#finish(record);
    return true;
  }

  /** Replaces what is kept of a connection. False if that is too much in sum: then the connection is dropped. */
  #keep(record: number, bytes: Uint8Array | null): boolean {
    this.#keptBytes += (bytes?.buffer.byteLength ?? 0) - (this.#kept[record]?.buffer.byteLength ?? 0);
    this.#kept[record] = bytes;
    if (this.#keptBytes <= MAX_KEPT_BYTES) return true;
    this.#abort(record, "MAX_KEPT_BYTES");
    return false;
  }

  /**
   * Answers every whole head up to the first that burns CPU; what is left over is kept. `scanned` bytes of the first head
   * were looked at before. False if the connection was dropped.
   */
  #answerAll(record: number, input: Uint8Array, from: number, to: number, scanned: number): boolean {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    let next = from;
    while (next < to) {
      if (r[at + COUNT] === QUEUE) {
        r[at + FLAGS]! |= BLOCKED;
        break;
      }
      const head = parseHead(input, next, to, next === from ? scanned : 0);
      if (head === INCOMPLETE) {
        if (r[at + HEAD_AT] === 0) this.#schedule(record, HEAD_AT, HEAD_MS);
        break;
      }
      r[at + HEAD_AT] = 0;
      next += head;
      const isLast = !request.keepAlive || this.#stopping && next === to;
      if (request.workUs > 0) {
        r[at + WORK_US] = request.workUs;
        r[at + FLAGS]! |= isLast ? BLOCKED | IN_TURN | LAST_WORK : BLOCKED | IN_TURN;
        if (this.#isWorking[record] === 0) this.#working.push(record);
        this.#isWorking[record] = 1;
        break;
      }
      this.#queue(record, request.status, isLast);
      if (isLast) {
        this.#finish(record);
        return true;
      }
    }
    if (next === to) return this.#kept[record] === null || this.#keep(record, null);
    return this.#keep(record, input.slice(next, to));
  }

  /** Puts an answer behind all others. */
  #queue(record: number, status: number, isLast: boolean): void {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const number = answerNumbers[status]! + (isLast ? 1 : 0);
    if (r[at + UNA] === r[at + END]) r[at + PROGRESS_AT] = this.nowMs;
    this.#rings[record * QUEUE + (r[at + FIRST]! + r[at + COUNT]! & QUEUE - 1)] = number;
    r[at + COUNT]!++;
    r[at + END]! += answerLengths[number]!;
    if (status === 200) this.counts.served++;
    else this.#countError(status);
  }

  // -- what leaves

  /** Sends what the two windows allow, and the acknowledgement that is owed. */
  #output(record: number): void {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const segment = r[at + SEGMENT]!;
    for (;;) {
      const ready = r[at + END]! - r[at + NXT]! | 0;
      const hasFin = (r[at + FLAGS]! & FIN_QUEUED) !== 0;
      if (ready < 0 || ready === 0 && !hasFin) break; // −1: FIN is out
      const flight = r[at + NXT]! - r[at + UNA]! | 0;
      const room = Math.min(r[at + CWND]!, r[at + WND]!) - flight;
      const length = Math.min(ready, segment, room);
      if (ready > 0 && length <= 0) break;
      // RFC 1122, section 4.2.3.4: no small segment while a larger one would fit soon.
      if (length < ready && length < segment && flight > 0) break;
      if (!this.#sendData(record, Math.max(0, length), hasFin && length >= ready)) break;
    }
    const outstanding = r[at + UNA] !== r[at + END] || (r[at + FLAGS]! & FIN_QUEUED) !== 0;
    if (outstanding && r[at + RTO_AT] === 0 && (r[at + UNA]! - r[at + END]! | 0) <= 0) {
      this.#schedule(record, RTO_AT, r[at + RTO]!); // also if nothing could be sent: then it probes the window
    }
    const edge = r[at + RCV_NXT]! + RECEIVE_WINDOW - (this.#kept[record]?.length ?? 0);
    const opened = (edge - r[at + RCV_EDGE]! | 0) >= RECEIVE_WINDOW >> 1; // RFC 1122, section 4.2.3.3
    if ((r[at + FLAGS]! & ACK_OWED) !== 0 || opened) this.#sendAck(record);
  }

  /** Sends `length` bytes from NXT on. False if there is no frame. */
  #sendData(record: number, length: number, hasFin: boolean): boolean {
    const frame = this.#take();
    if (frame < 0) return false;
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const sum = this.#copyAnswers(record, frame + OWN_DATA, length);
    const seq = r[at + NXT]!;
    const next = seq + length + (hasFin ? 1 : 0) | 0;
    r[at + NXT] = next;
    if ((next - r[at + MAX]! | 0) > 0) {
      this.counts.bytes_out += Math.max(0, Math.min(length, next - r[at + MAX]! | 0));
      r[at + MAX] = next;
      if ((r[at + FLAGS]! & TIMED) === 0) {
        r[at + FLAGS]! |= TIMED;
        r[at + RTT_SEQ] = seq;
        r[at + RTT_AT] = this.nowMs;
      }
    } else this.packets.retransmissions++;
    this.#finishSegment(record, frame, seq, ACK | (length > 0 ? PSH : 0) | (hasFin ? FIN : 0), 20, length, sum);
    // A segment with data has no room for SACK: then the acknowledgement follows by itself.
    if (this.#pieces[record] === null) r[at + FLAGS]! &= ~ACK_OWED;
    return true;
  }

  /** Writes bytes of the ring of answers, from the one at NXT on, and moves NXT's place in the ring. Returns their sum. */
  #copyAnswers(record: number, to: number, length: number): number {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const ring = record * QUEUE;
    let index = r[at + NXT_ANSWER]!;
    let offset = r[at + NXT_OFFSET]!;
    let done = 0;
    let whole = -1; // the sum, if the bytes are one whole answer
    while (done < length) {
      const answer = answers[this.#rings[ring + (r[at + FIRST]! + index & QUEUE - 1)]!]!;
      const all = answer.bytes.length - offset;
      const part = Math.min(all, length - done);
      if (offset === 0 && done === 0 && part === all) {
        const { words, sum } = answer; // the usual one: a whole answer at the start of the data, which is a word
        const target = to >> 2;
        for (let i = 0; i < words.length; i++) this.#words[target + i] = words[i]!;
        whole = sum; // so that its bytes are not read again
      } else {
        whole = -1;
        for (let i = 0; i < part; i++) this.#bytes[to + done + i] = answer.bytes[offset + i]!;
      }
      done += part;
      offset += part;
      if (part === all) {
        index++;
        offset = 0;
      }
    }
    r[at + NXT_ANSWER] = index;
    r[at + NXT_OFFSET] = offset;
    return whole < 0 ? this.#sumOf(to, length) : whole;
  }

  /** Sends the first segment that is not acknowledged once more, without a change of NXT. */
  #sendAgain(record: number): void {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const [nxt, answer, offset] = [r[at + NXT]!, r[at + NXT_ANSWER]!, r[at + NXT_OFFSET]!];
    const data = r[at + END]! - r[at + UNA]! | 0;
    const length = Math.max(0, Math.min(data, r[at + SEGMENT]!));
    this.#rewind(at);
    this.#sendData(record, length, (r[at + FLAGS]! & FIN_QUEUED) !== 0 && length === data && data < r[at + SEGMENT]!);
    if ((nxt - r[at + NXT]! | 0) > 0) {
      r[at + NXT] = nxt;
      r[at + NXT_ANSWER] = answer;
      r[at + NXT_OFFSET] = offset;
    }
    r[at + FLAGS]! &= ~TIMED; // Karn: an acknowledgement of it says nothing about time
  }

  #rewind(at: number): void {
    const r = this.#records;
    r[at + NXT] = r[at + UNA]!;
    r[at + NXT_ANSWER] = 0;
    r[at + NXT_OFFSET] = r[at + UNA_OFFSET]!;
  }

  #sendAck(record: number): void {
    const at = record * RECORD_WORDS;
    const frame = this.#take();
    if (frame < 0) return;
    const options = this.#writeSack(record, frame + OWN_DATA);
    const sum = this.#sumOf(frame + OWN_DATA, options);
    this.#records[at + FLAGS]! &= ~ACK_OWED;
    // After a timeout NXT is behind what was sent; an acknowledgement carries the number behind all of it.
    this.#finishSegment(record, frame, this.#records[at + MAX]!, ACK, 20 + options, options, sum);
  }

  /** RFC 2018, section 4: says what is kept behind holes, the part that came last first. Returns its bytes. */
  #writeSack(record: number, to: number): number {
    const at = record * RECORD_WORDS;
    const pieces = this.#pieces[record]!;
    if (pieces === null || this.#records[at + TRAITS]! < SACK) return 0;
    const latest = this.#records[at + LATEST]!;
    let blocks = 0;
    for (let i = 0; i < pieces.length;) {
      const start = pieces[i]!.seq;
      let end = endOf(pieces[i]!);
      for (i++; i < pieces.length && (pieces[i]!.seq - end | 0) <= 0; i++) {
        if ((endOf(pieces[i]!) - end | 0) > 0) end = endOf(pieces[i]!);
      }
      let block = to + 4 + 8 * blocks;
      if ((latest - start | 0) >= 0 && (latest - end | 0) < 0) {
        if (blocks < MAX_SACK_BLOCKS) this.#bytes.copyWithin(block, to + 4, to + 12); // makes room at the front
        block = to + 4;
      } else if (blocks === MAX_SACK_BLOCKS) continue;
      blocks = Math.min(blocks + 1, MAX_SACK_BLOCKS);
      this.#view.setInt32(block, start);
      this.#view.setInt32(block + 4, end);
    }
    this.#view.setInt32(to, NOPS | OPTION_SACK << 8 | 2 + 8 * blocks);
    return 4 + 8 * blocks;
  }

  /** Sends a segment without data. */
  #control(record: number, seq: number, flags: number): void {
    const frame = this.#take();
    if (frame >= 0) this.#finishSegment(record, frame, seq, flags, 20, 0, 0);
  }

  /**
   * Puts the headers before what stands in a frame of a record, and sends it. `behind`: so many bytes of options and data stand
   * behind the 20 bytes that each TCP header has, and `sum` is theirs.
   */
  #finishSegment(
    record: number,
    frame: number,
    seq: number,
    flags: number,
    header: number,
    behind: number,
    sum: number,
  ): void {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const kept = this.#kept[record]!;
    const window = RECEIVE_WINDOW - (kept === null ? 0 : kept.length);
    const ports = this.#options.port << 16 | r[at + PORT]!;
    r[at + RCV_EDGE] = r[at + RCV_NXT]! + window;
    this.#ethernet(frame, r[at + MAC_HIGH]!, r[at + MAC_LOW]!);
    this.#sendSegment(frame, r[at + IP]!, ports, seq, r[at + RCV_NXT]!, control(header, flags, window), behind, sum);
  }

  /** Answers the segment under work without a record: to where it came from. `traits`: those of a SYN. */
  #reply(seq: number, ack: number, flags: number, window: number, traits = -1): void {
    const frame = this.#take();
    if (frame < 0) return;
    const options = traits < 0 ? 0 : traits < SACK ? 4 : 8;
    if (options > 0) this.#view.setInt32(frame + OWN_DATA, OPTION_MSS << 24 | 4 << 16 | this.#ownMss);
    if (options > 4) this.#view.setInt32(frame + OWN_DATA + 4, NOPS | OPTION_SACK_PERMITTED << 8 | 2);
    const sum = this.#sumOf(frame + OWN_DATA, options);
    const ports = this.#asked << 16 | this.#port; // a reset comes from the port that was asked
    this.#ethernet(frame, this.#view.getUint16(this.#frame + 6), this.#view.getInt32(this.#frame + 8));
    this.#sendSegment(frame, this.#ip, ports, seq, ack, control(20 + options, flags, window), options, sum);
  }

  // -- time

  /** Decides what a record becomes after an event: 16 bytes again, nothing, or a record with a deadline. */
  #settle(record: number): void {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const flags = r[at + FLAGS]!;
    if ((flags & FIN_QUEUED) !== 0) {
      if (r[at + UNA] === (r[at + END]! + 1 | 0)) { // FIN is acknowledged
        if ((flags & PEER_FIN) === 0) {
          if ((flags & UNASKED) !== 0) return this.#demote(record, FIN_WAIT_2);
          if (r[at + LINGER_AT] === 0) this.#schedule(record, LINGER_AT, LINGER_MS);
        } else if ((flags & ACTIVE_CLOSE) !== 0) return this.#demote(record, TIME_WAIT);
        else return this.#forget(record);
      }
    } else if (this.#isIdle(record)) {
      if (this.#stopping) this.#part(record);
      else this.#demote(record, IDLE);
    }
  }

  /** Whether nothing of a connection is in flight, kept or to be done. */
  #isIdle(record: number): boolean {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    return r[at + UNA] === r[at + END] && this.#kept[record] === null && this.#pieces[record] === null &&
      (r[at + FLAGS]! & IN_TURN) === 0;
  }

  /**
   * Sets one of the deadlines of a record. The time at which the record is looked at only ever comes closer here: a look that
   * is too early costs little and computes it again, and to do so for each segment would cost more.
   */
  #schedule(record: number, field: number, ms: number): void {
    const deadline = this.#in(ms);
    this.#records[record * RECORD_WORDS + field] = deadline;
    if ((this.#deadlines[record]! - deadline | 0) > 0) this.#deadlines[record] = deadline;
  }

  /** The next time at which something has to be done for a record, PROGRESS_MS from now at the latest. */
  #earliest(at: number): number {
    const r = this.#records;
    let leftMs = PROGRESS_MS;
    if (this.#isOutstanding(at)) leftMs = Math.min(leftMs, PROGRESS_MS - this.#since(r[at + PROGRESS_AT]!));
    for (const field of DEADLINES) {
      const deadline = r[at + field]!;
      if (deadline !== 0) leftMs = Math.min(leftMs, -this.#since(deadline));
    }
    return this.#in(Math.max(0, leftMs));
  }

  /** The time in so many ms, as a record holds it: 32 bits that wrap around after 49 days. It is never 0. */
  #in(ms: number): number {
    return this.nowMs + ms | 0 || 1;
  }

  /** The ms since a time; below 0 before it. */
  #since(time: number): number {
    return this.nowMs - time | 0;
  }

  #isDue(deadline: number): boolean {
    return deadline !== 0 && this.#since(deadline) >= 0;
  }

  /** Whether the peer owes an acknowledgement of data or of FIN, sent or not. */
  #isOutstanding(at: number): boolean {
    const r = this.#records;
    const fin = (r[at + FLAGS]! & FIN_QUEUED) !== 0 ? 1 : 0;
    return (r[at + END]! + fin - r[at + UNA]! | 0) > 0;
  }

  /** Does what time demands. To be called every TICK_MS, or less often where nothing happens. */
  tick(): void {
    for (let record = 0; record < this.#usedRecords; record++) {
      const deadline = this.#deadlines[record]!;
      if (this.#isDue(deadline)) this.#onDeadline(record);
    }
    if (this.busy === 0) this.#usedRecords = 0;
    this.#sweep();
  }

  #onDeadline(record: number): void {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    if (this.#isOutstanding(at) && this.#since(r[at + PROGRESS_AT]!) >= PROGRESS_MS) {
      return this.#abort(record, "ETIMEDOUT");
    }
    if (this.#isDue(r[at + LINGER_AT]!)) return this.#demote(record, FIN_WAIT_2);
    if (this.#isDue(r[at + HOLE_AT]!)) this.#dropPieces(record); // RFC 2018, section 8: the peer still has them
    if (this.#isDue(r[at + HEAD_AT]!)) this.#onLateHead(record);
    if (this.#isDue(r[at + RTO_AT]!)) this.#onTimeout(record);
    this.#output(record);
    this.#settle(record);
    if (this.#deadlines[record] !== 0) this.#deadlines[record] = this.#earliest(at); // else it is free
  }

  /** A head that is not complete in time is answered, and its connection closed: RFC 9110, section 15.5.9. */
  #onLateHead(record: number): void {
    this.#queue(record, 408, true);
    this.#finish(record);
  }

  /** RFC 6298, section 5, or with a closed window RFC 9293, section 3.8.6.1. */
  #onTimeout(record: number): void {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    r[at + UNANSWERED]!++;
    r[at + RTO] = Math.min(2 * r[at + RTO]!, RTO_MAX_MS);
    r[at + FLAGS]! &= ~(TIMED | RECOVERY);
    r[at + DUPACKS] = 0;
    this.#rewind(at);
    if (r[at + WND] === 0 && r[at + UNA] !== r[at + END]) {
      if (r[at + CLOSED_AT] === 0) r[at + CLOSED_AT] = this.#in(0);
      this.#schedule(record, RTO_AT, Math.min(r[at + RTO]!, MAX_PROBE_MS));
      this.packets.window_probes++;
      this.#sendData(record, 1, false);
      return;
    }
    r[at + TRIES]!++;
    const flight = r[at + MAX]! - r[at + UNA]! | 0;
    const segment = r[at + SEGMENT]!;
    if (r[at + TRIES] === 1) r[at + SSTHRESH] = Math.max(flight >> 1, 2 * segment); // RFC 5681, equation 4
    r[at + CWND] = segment;
    r[at + RECOVER] = r[at + MAX]!;
    r[at + RTO_AT] = 0; // set again by what is sent now
  }

  /** Time since the start in STAMP_S, as far as a slot can hold it. */
  #stamp(): number {
    return Math.floor(this.nowMs / (STAMP_S * 1000)) & STAMP;
  }

  /**
   * Looks at a part of the table, all of it in KEEPALIVE_INTERVAL_S: a timer for each of ten million idle connections would
   * take more memory than they do.
   */
  #sweep(): void {
    const table = this.#table;
    const slots = this.#tableEnd / SLOT_WORDS;
    const elapsed = Math.min(this.nowMs - this.#sweptMs, 100); // after a pause it does not catch up at once
    this.#sweepDue += slots * elapsed / (KEEPALIVE_INTERVAL_S * 1000);
    let count = Math.floor(this.#sweepDue);
    this.#sweepDue -= count;
    this.#sweptMs = this.nowMs;
    if (this.open === 0) return;
    this.#probes = MAX_PROBES;
    const stamp = this.#stamp();
    for (; count > 0; count--) {
      const entry = this.#swept;
      const meta = table[entry + SLOT_META]!;
      const state = meta & STATE;
      let stays = true;
      if (state !== EMPTY && state !== BUSY) {
        const ageS = (stamp - (meta >>> STAMP_SHIFT) & STAMP) * STAMP_S;
        stays = (state & IDLE_BITS) === IDLE ? this.#checkIdle(entry, meta, ageS) : ageS <= TIME_WAIT_S;
        if (!stays) this.#remove(entry); // another entry may have moved to its place
      }
      if (stays) this.#swept = entry + SLOT_WORDS === this.#tableEnd ? 0 : entry + SLOT_WORDS;
    }
  }

  /** Keepalive, RFC 1122, section 4.2.3.6, and the idle timeout. False if the connection is to be forgotten. */
  #checkIdle(entry: number, meta: number, ageS: number): boolean {
    const probes = meta >>> PROBES_SHIFT & PROBES;
    const idleS = this.#options.idleS ?? 0;
    if (idleS > 0 && ageS > idleS) return this.#close(entry);
    // Once in KEEPALIVE_S, in the one pass of the sweep that falls behind a multiple of it.
    const isDue = probes > 0 || ageS >= KEEPALIVE_S && ageS % KEEPALIVE_S < KEEPALIVE_INTERVAL_S;
    if (!isDue || this.#probes <= 0) return true;
    if (probes === KEEPALIVE_PROBES) {
      this.#countError("ETIMEDOUT");
      return false;
    }
    if (!this.#probe(entry, meta >>> 16)) return true; // one that was not sent will not be answered
    this.#probes--;
    this.packets.keepalive_probes++;
    this.#table[entry + SLOT_META] = meta + (1 << PROBES_SHIFT);
    return true;
  }

  /**
   * Sends the number before the next one, which every peer acknowledges that still knows the connection. False if there is
   * no frame, or the hardware address was forgotten: then nothing can be said against the peer.
   */
  #probe(entry: number, port: number): boolean {
    const ip = this.#table[entry + SLOT_IP]!;
    const neighbour = this.#neighbourOf(ip);
    const frame = this.#neighbours[neighbour] === ip ? this.#take() : -1;
    if (frame < 0) return false;
    const seq = this.#table[entry + SLOT_SND_NXT]! - 1 | 0;
    const ack = this.#table[entry + SLOT_RCV_NXT]!;
    const ports = this.#options.port << 16 | port;
    this.#ethernet(
      frame,
      this.#neighbours[neighbour + NEIGHBOUR_MAC_HIGH]!,
      this.#neighbours[neighbour + NEIGHBOUR_MAC_LOW]!,
    );
    this.#sendSegment(frame, ip, ports, seq, ack, control(20, ACK, RECEIVE_WINDOW), 0, 0);
    return true;
  }

  /** Whether requests wait for CPU to be burnt. Those that have ended meanwhile count until `nextWork` finds them. */
  get hasWork(): boolean {
    return this.#working.length > 0;
  }

  /** The record whose turn it is to have CPU burnt; −1 if none waits. Those that have ended meanwhile are left out. */
  nextWork(): number {
    for (;;) {
      const record = this.#working.shift();
      if (record === undefined) return -1;
      this.#isWorking[record] = 0;
      if ((this.#records[record * RECORD_WORDS + FLAGS]! & IN_TURN) !== 0) return record;
    }
  }

  /** The CPU time in µs that the request of such a record asks for. */
  workUs(record: number): number {
    return this.#records[record * RECORD_WORDS + WORK_US]!;
  }

  /** Answers the request for which CPU was burnt, and lets its connection go on. */
  worked(record: number): void {
    const r = this.#records;
    const at = record * RECORD_WORDS;
    const isLast = (r[at + FLAGS]! & LAST_WORK) !== 0;
    r[at + FLAGS]! &= ~(IN_TURN | LAST_WORK);
    this.#queue(record, 200, isLast);
    if (isLast) this.#finish(record);
    else if (!this.#resume(record)) return;
    this.#output(record);
    this.#settle(record);
  }

  /** Takes no new connections any more, and answers what is asked for the last time. */
  stop(): void {
    this.#stopping = true;
    this.#closedTo = 0;
  }

  /**
   * Closes idle connections, at most `most` of them, from the slot on where the last call ended, as long as there are records
   * for them. True: none is left.
   */
  closeIdle(most: number): boolean {
    let closed = 0;
    while (this.#closedTo < this.#tableEnd && closed < most && this.#freeCount > 0) {
      const entry = this.#closedTo;
      if ((this.#table[entry + SLOT_META]! & IDLE_BITS) === IDLE) {
        closed++;
        if (!this.#close(entry)) {
          this.#remove(entry);
          continue; // another entry may have moved to its place
        }
      }
      this.#closedTo += SLOT_WORDS;
    }
    return this.#closedTo === this.#tableEnd;
  }

  /**
   * Closes an idle connection by FIN. False if its hardware address was forgotten, which is counted: then no frame would reach
   * the peer, and what is remembered instead belongs to another host.
   */
  #close(entry: number): boolean {
    const ip = this.#table[entry + SLOT_IP]!;
    if (this.#neighbours[this.#neighbourOf(ip)] !== ip) {
      this.#countError("EHOSTUNREACH");
      return false;
    }
    const record = this.#promote(entry);
    if (record >= 0) this.#part(record); // else a later pass closes it
    return true;
  }

  /** Sends the FIN of a connection that is idle but for its record. */
  #part(record: number): void {
    this.#records[record * RECORD_WORDS + FLAGS]! |= UNASKED;
    this.#finish(record);
    this.#output(record);
    this.#settle(record);
  }

  // -- the table: open addressing, linear probing, deletion without tombstones

  /** The slot where a search starts. Keyed, so that nobody can choose addresses that all start at one slot. */
  #home(ip: number, port: number): number {
    const secret = this.#options.secret;
    let hash = Math.imul(ip ^ secret[4]!, 0x9e3779b1) ^ Math.imul(port ^ secret[5]!, 0x85ebca6b);
    hash = Math.imul(hash ^ hash >>> 15, 0x2c1b3c6d);
    hash = Math.imul(hash ^ hash >>> 12, 0x297a2d39);
    return ((hash ^ hash >>> 15) >>> 0) * this.#scale | 0;
  }

  /** The index of a connection's slot; if it has none, ~ of the index of the free slot that it would get. */
  #find(ip: number, port: number): number {
    const table = this.#table;
    let entry = this.#home(ip, port) * SLOT_WORDS;
    for (;;) {
      const meta = table[entry + SLOT_META]!;
      if (meta === 0) return ~entry;
      if (meta >>> 16 === port && table[entry + SLOT_IP] === ip) return entry;
      entry += SLOT_WORDS;
      if (entry === this.#tableEnd) entry = 0;
    }
  }

  /** Frees a slot. Entries behind it that a search would not find any more move up. */
  #remove(entry: number): void {
    const table = this.#table;
    const slots = this.#tableEnd / SLOT_WORDS;
    let hole = entry;
    let next = entry;
    const state = table[entry + SLOT_META]! & STATE;
    if (state === TIME_WAIT || state === FIN_WAIT_2) this.leaving--;
    this.open--;
    for (;;) {
      next += SLOT_WORDS;
      if (next === this.#tableEnd) next = 0;
      const meta = table[next + SLOT_META]!;
      if (meta === 0) break;
      const fromHome = next / SLOT_WORDS - this.#home(table[next + SLOT_IP]!, meta >>> 16);
      const fromHole = (next - hole) / SLOT_WORDS;
      if ((fromHome < 0 ? fromHome + slots : fromHome) < (fromHole < 0 ? fromHole + slots : fromHole)) continue;
      for (let word = 0; word < SLOT_WORDS; word++) table[hole + word] = table[next + word]!;
      if ((meta & STATE) === BUSY) this.#records[table[next + SLOT_RCV_NXT]! * RECORD_WORDS + ENTRY] = hole;
      hole = next;
    }
    table[hole + SLOT_META] = 0;
  }

  /**
   * Remembers from which hardware address the segment under work came, for what this end sends to it. No checksum covers it,
   * and what goes to a damaged one is lost each time it is sent again: so another one has to come twice. Returns the place.
   */
  #learn(): number {
    const neighbours = this.#neighbours;
    const neighbour = this.#neighbourOf(this.#ip);
    const high = this.#view.getUint16(this.#frame + 6);
    const low = this.#view.getInt32(this.#frame + 8);
    if (neighbours[neighbour] !== this.#ip) {
      neighbours[neighbour] = this.#ip;
      neighbours[neighbour + NEIGHBOUR_SRTT] = 0;
    } else if (neighbours[neighbour + SEEN_HIGH] !== high || neighbours[neighbour + SEEN_LOW] !== low) {
      neighbours[neighbour + SEEN_HIGH] = high;
      neighbours[neighbour + SEEN_LOW] = low;
      return neighbour;
    }
    neighbours[neighbour + NEIGHBOUR_MAC_HIGH] = high;
    neighbours[neighbour + NEIGHBOUR_MAC_LOW] = low;
    return neighbour;
  }

  /** The same for a record. */
  #learnAddress(at: number): void {
    const r = this.#records;
    const high = this.#view.getUint16(this.#frame + 6);
    if (r[at + MAC_HIGH] === high && r[at + MAC_LOW] === this.#view.getInt32(this.#frame + 8)) return;
    this.#useNeighbour(at, this.#learn());
  }

  #useNeighbour(at: number, neighbour: number): void {
    this.#records[at + MAC_HIGH] = this.#neighbours[neighbour + NEIGHBOUR_MAC_HIGH]!;
    this.#records[at + MAC_LOW] = this.#neighbours[neighbour + NEIGHBOUR_MAC_LOW]!;
  }

  /** Where stands what is remembered of a peer, unless another one has taken the place meanwhile. */
  #neighbourOf(ip: number): number {
    return (ip & NEIGHBOURS - 1) * NEIGHBOUR_WORDS;
  }

  // -- frames that leave

  #take(): number {
    const frame = this.#options.take();
    if (frame < 0) this.packets.frames_full++;
    return frame;
  }

  #send(frame: number, length: number): void {
    this.packets.sent++;
    this.#options.send(frame, length);
  }

  /** The header of Ethernet, for IPv4. */
  #ethernet(frame: number, high: number, low: number): void {
    const view = this.#view;
    const own = frame + 6 >> 2; // a word, as all that follows it
    view.setUint16(frame, high);
    view.setInt32(frame + 2, low);
    this.#words[own] = this.#macWord;
    this.#words[own + 1] = this.#typeWord;
  }

  /** RFC 791: no options, not to be fragmented, so no identification either (RFC 6864). */
  #ipHeader(frame: number, to: number, protocol: number, length: number): void {
    const view = this.#view;
    const ip = frame + ETHERNET;
    const total = 20 + length;
    const sum = fold(this.#ipSum + protocol + total + halves(to)); // of values at hand: the header is not read again
    view.setInt32(ip, IP_VERSION << 16 | total);
    this.#words[ip + 4 >> 2] = DONT_FRAGMENT_WORD;
    view.setInt32(ip + 8, (IP_TTL | protocol) << 16 | ~sum & 0xffff);
    this.#words[ip + 12 >> 2] = this.#addressWord;
    view.setInt32(ip + 16, to);
  }

  /**
   * Writes the headers of IPv4 and TCP, and sends the frame. `word`: see `control`. `behind`: so many bytes stand behind the 20
   * that each TCP header has, and `sum` is theirs in network order, so that no byte of the frame is read again.
   */
  #sendSegment(
    frame: number,
    to: number,
    ports: number,
    seq: number,
    ack: number,
    word: number,
    behind: number,
    sum: number,
  ): void {
    const view = this.#view;
    const tcp = frame + OWN_TCP;
    const length = 20 + behind;
    const header = halves(ports) + halves(seq) + halves(ack) + halves(word);
    this.#ipHeader(frame, to, PROTOCOL_TCP, length);
    view.setInt32(tcp, ports);
    view.setInt32(tcp + 4, seq);
    view.setInt32(tcp + 8, ack);
    view.setInt32(tcp + 12, word);
    view.setInt32(tcp + 16, ~fold(this.#tcpSum + halves(to) + length + header + sum) << 16); // no urgent data
    this.#send(frame, OWN_TCP + length);
  }

  /** The sum of bytes that start at a word, in network order. */
  #sumOf(at: number, length: number): number {
    return length === 0 ? 0 : swapBytes(checksum(this.#words, this.#bytes, at, length, 0)) >>> 16;
  }
}

// ---- The architecture: four rings between the kernel and one thread -------------------------------------------------
//
//   fill: free frames ──► kernel ──► rx: frames that came ──► Tcp ──► tx: frames to send ──► kernel ──► completion: sent

/** Hands frames to the kernel and takes them back. Each side writes one counter of a ring and reads the other. */
export class Rings {
  readonly #socket: XdpSocket;
  readonly #unused = Int32Array.from({ length: TX_FRAMES }, (_, i) => (RX_FRAMES + i) * FRAME_BYTES + 2);
  #unusedCount = TX_FRAMES;
  #received = 0; // counters of this side; they wrap around like those in the rings
  #filled = 0;
  #sent = 0;
  #offered = 0; // of what was sent, what the kernel knows of
  #completed = 0;
  readonly #waited = new Int32Array(2); // struct pollfd { int fd; short events, revents; }

  constructor(socket: XdpSocket) {
    this.#socket = socket;
    this.#waited[0] = socket.fd;
    this.#waited[1] = POLLIN;
    for (let frame = 0; frame < RX_FRAMES; frame++) this.#refill(frame * FRAME_BYTES);
    Atomics.store(socket.fill.producer, 0, this.#filled);
  }

  #refill(frame: number): void {
    const at = (this.#filled & RX_FRAMES - 1) * ADDRESS_WORDS;
    this.#socket.fill.entries[at] = frame & -FRAME_BYTES; // the kernel chooses the place in the frame
    this.#filled = this.#filled + 1 | 0;
  }

  /** Gives what has come, at most BATCH frames, to `receive`. Returns how many. */
  receive(receive: (frame: number, length: number) => void): number {
    const { rx, fill } = this.#socket;
    const count = Math.min(Atomics.load(rx.producer, 0) - this.#received | 0, BATCH);
    if (count === 0) return 0;
    for (let i = 0; i < count; i++) {
      const at = (this.#received & RX_FRAMES - 1) * DESCRIPTOR_WORDS;
      const frame = rx.entries[at]!;
      receive(frame, rx.entries[at + DESCRIPTOR_LENGTH]!);
      this.#refill(frame);
      this.#received = this.#received + 1 | 0;
    }
    Atomics.store(rx.consumer, 0, this.#received);
    Atomics.store(fill.producer, 0, this.#filled);
    return count;
  }

  /** A frame to write into, −1 if all are on their way. The one that came back last: it is still in the cache. */
  take(): number {
    if (this.#unusedCount === 0) this.flush();
    return this.#unusedCount === 0 ? -1 : this.#unused[--this.#unusedCount]!;
  }

  send(frame: number, length: number): void {
    const { entries } = this.#socket.tx;
    const at = (this.#sent & TX_FRAMES - 1) * DESCRIPTOR_WORDS;
    entries[at] = frame;
    entries[at + DESCRIPTOR_LENGTH] = length;
    this.#sent = this.#sent + 1 | 0;
  }

  /** Has the kernel send what stands in the ring, and takes back what was sent. In copy mode every batch needs a call. */
  flush(): void {
    if (this.#completed === this.#sent) return; // nothing is on its way
    const { fd, tx, completion } = this.#socket;
    if (this.#offered !== this.#sent) {
      this.#offered = this.#sent; // a store takes the cache line from the kernel, so only what has changed is stored
      Atomics.store(tx.producer, 0, this.#sent);
    }
    if (Atomics.load(tx.consumer, 0) !== this.#sent && libc.sendto(fd, null, 0, MSG_DONTWAIT, null, 0) < 0) {
      const code = errno[0]!;
      if (code === ENXIO || code === ENETDOWN) lost(code);
      // No room in the queue of the device, or in the completion ring: the frames stand in the ring for the next call.
      if (code !== EAGAIN && code !== EBUSY && code !== ENOBUFS && code !== EINTR) must(-1, "send frames");
    }
    const produced = Atomics.load(completion.producer, 0);
    while (this.#completed !== produced) {
      const at = (this.#completed & TX_FRAMES - 1) * ADDRESS_WORDS;
      this.#unused[this.#unusedCount++] = completion.entries[at]!;
      this.#completed = this.#completed + 1 | 0;
    }
    Atomics.store(completion.consumer, 0, this.#completed);
  }

  /** Whether frames stand in the ring that the kernel did not take. */
  get isBehind(): boolean {
    return Atomics.load(this.#socket.tx.consumer, 0) !== this.#sent;
  }

  /** Whether nothing has come that was not received, and nothing is left to send. */
  get isDone(): boolean {
    return Atomics.load(this.#socket.rx.producer, 0) === this.#received && !this.isBehind;
  }

  /** Sleeps until a frame comes, or so long. */
  wait(ms: number): void {
    if (libc.poll(this.#waited, 1, ms) < 0 && errno[0] !== EINTR) must(-1, "wait for frames");
  }

  /** Ends if the interface has gone. */
  check(): void {
    checkInterface(this.#socket.fd);
  }
}

let stopping = false;

/** Burns CPU for one request. The others wait for a turn of their own, so that frames, timers and signals come between. */
async function serveWork(tcp: Tcp): Promise<void> {
  const record = tcp.nextWork();
  if (record < 0) return;
  await burn(tcp.workUs(record));
  tcp.nowMs = readClockMs() - startMs;
  tcp.worked(record);
}

/** Serves until `stopping`, then until nothing is in flight any more or STOP_MS are over. */
async function serve(rings: Rings, tcp: Tcp): Promise<void> {
  const receive = (frame: number, length: number) => tcp.receive(frame, length);
  let tickMs = 0;
  let idleTurns = 0;
  let stopAtMs = Infinity;
  let isClosed = false; // all that was idle at SIGTERM
  for (;;) {
    const nowMs = readClockMs();
    tcp.nowMs = nowMs - startMs;
    const received = rings.receive(receive);
    if (tcp.hasWork) await serveWork(tcp);
    if (nowMs - tickMs >= TICK_MS) {
      tickMs = nowMs;
      tcp.tick();
    }
    if (stopAtMs < Infinity && !isClosed) isClosed = tcp.closeIdle(CLOSES);
    rings.flush();
    const isDone = rings.isDone && !tcp.hasWork && (isClosed || stopAtMs === Infinity);
    idleTurns = received > 0 || !isDone ? 0 : idleTurns + 1;
    if (nowMs >= stopAtMs || isClosed && tcp.busy === 0 && idleTurns > 1) return; // looked again, after a wait
    // It sleeps in the turn that has done all there was, without an empty one before. To look again and again would see the
    // next frame a few µs earlier and take all of the core's time; and what gathers during a sleep is answered in one batch.
    // poll blocks this thread and with it Deno's event loop, where signal handlers run: so for TURN_MS at most.
    if (isDone) rings.wait(tcp.busy > 0 ? TICK_MS : TURN_MS);
    if (nowMs - heardMs >= TURN_MS) {
      await hearSignals();
      rings.check();
    }
    if (stopping && stopAtMs === Infinity) { // heard here, or while CPU was burnt
      tcp.stop();
      stopAtMs = readClockMs() + STOP_MS;
    }
  }
}

// ---- Command line --------------------------------------------------------------------------------------------------

const IPV4 = /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}$/;
const USAGE = `Usage: ${EXPERIMENT} --interface NAME --address IPV4 [--port N] [--connections N] [--idle SECONDS]`;

/** Reads a number among the options. */
function number(name: string, text: string, least: number, most: number): number {
  if (!/^\d{1,9}$/.test(text) || Number(text) < least || Number(text) > most) {
    throw new Error(`--${name} ${text} is not a number from ${least} to ${most}.`);
  }
  return Number(text);
}

function readOptions() {
  try {
    const { values } = parseArgs({
      args: Deno.args,
      options: {
        interface: { type: "string", default: "" },
        address: { type: "string", default: "" },
        port: { type: "string", default: "8080" },
        connections: { type: "string", default: "1000000" },
        idle: { type: "string", default: "0" },
      },
    });
    if (!/^[^\s/]{1,15}$/.test(values.interface)) throw new Error(`--interface ${values.interface} is not a name.`);
    if (!IPV4.test(values.address)) throw new Error(`--address ${values.address} is not an IPv4 address.`);
    return {
      interface: values.interface,
      address: values.address,
      port: number("port", values.port, 0, 65_535),
      connections: number("connections", values.connections, 1, MAX_CONNECTIONS),
      idleS: number("idle", values.idle, 0, MAX_IDLE_S),
    };
  } catch (error) {
    console.error(`${(error as Error).message}\n${USAGE}`);
    Deno.exit(2);
  }
}

/** The number of an address, as it stands in a packet. */
export const addressNumber = (address: string): number =>
  address.split(".").reduce((number, byte) => number << 8 | Number(byte), 0);

/** Any port above the registered ones: nobody else answers on the address, so every port is free. */
const anyPort = () => 49_152 + crypto.getRandomValues(new Uint16Array(1))[0]! % 16_384;

/** Prints a line of counts. Where none can be written, as on a full disk, the server goes on, and counts that. */
function show(line: object, errors: Record<string, number>): void {
  try {
    console.log(JSON.stringify(line));
  } catch (error) {
    const [, errno] = /os error (\d+)/.exec(String(error)) ?? [];
    if (errno === undefined) throw error;
    const name = getSystemErrorName(-Number(errno));
    errors[name] = (errors[name] ?? 0) + 1;
  }
}

function stop(): void {
  if (stopping) Deno.exit(1); // the second signal does not wait
  stopping = true;
}

let startMs = 0; // the clock of connections starts at 1

if (import.meta.main) {
  const options = readOptions();
  const port = options.port || anyPort();
  useLibc();
  startMs = readClockMs() - 1;
  refuseOwnAddress(options.address);
  const address = addressNumber(options.address);
  const socket = openXdp(options.interface, (map) => steering(address, map), `${options.address}:${port}`);
  const rings = new Rings(socket);
  const slots = Math.ceil(options.connections / LOAD_FACTOR);
  const tcp = new Tcp({
    ...{ memory: socket.memory, mac: socket.mac, mtu: socket.mtu },
    ...{ address, port, idleS: options.idleS },
    table: new Int32Array(tableMemory(slots * SLOT_WORDS * 4)),
    secret: crypto.getRandomValues(new Int32Array(6)),
    take: () => rings.take(),
    send: (frame, length) => rings.send(frame, length),
  });
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, stop);
  Deno.addSignalListener("SIGUSR1", () => {
    const { open, leaving, busy, counts, packets } = tcp;
    show({ event: "stats", open: open - leaving, ...counts, leaving, busy, packets }, counts.errors);
  });
  const { mode } = socket;
  console.log(JSON.stringify({ event: "ready", experiment: EXPERIMENT, port, pid: Deno.pid, mode }));
  console.error(`Listening, ${mode} mode. Try: curl -i http://${options.address}:${port}/`);
  await serve(rings, tcp);
  const left = tcp.open - tcp.leaving;
  if (left > 0) console.error(`${left} connections were left without an acknowledged FIN: ${STOP_MS} ms were over.`);
  show({ event: "stopped", ...tcp.counts }, tcp.counts.errors);
  Deno.exit(0);
}
