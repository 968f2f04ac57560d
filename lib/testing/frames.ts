/**
 * Ethernet frames with IPv4 and TCP in them, put together and taken apart for tests of a TCP. It shares no code with the
 * TCP under test, so that an error of one is not hidden by the same error of the other.
 *
 * @example
 * ```ts
 * const frame = tcpFrame({ from: [0x0a000002, 40_000], to: [0x0a000001, 8080], seq: 1, ack: 0, flags: "S" });
 * console.log(parseTcp(frame).flags); // "S"
 * ```
 *
 * @module
 */

/** An IPv4 address as a number, and a port. */
export type End = [address: number, port: number];

/** A TCP segment with its addresses. */
export interface TcpSegment {
  from: End;
  to: End;
  seq: number;
  ack: number;
  /** Letters of `SAFRPU`, in this order. */
  flags: string;
  window: number;
  /** Options as they stand in the header, padded to whole words. */
  options: Uint8Array;
  data: Uint8Array;
}

/** What differs from a usual packet. */
export interface Oddities {
  /** Options of the IPv4 header, a multiple of 4 bytes. */
  ipOptions?: Uint8Array;
  /** Flags and offset of a fragment. */
  fragment?: number;
  /** Added to the right checksum. */
  ipChecksumError?: number;
  tcpChecksumError?: number;
  version?: number;
  /** The length of the header that it claims, in words. */
  headerWords?: number;
  /** The total length that it claims. */
  totalLength?: number;
  /** The data offset that it claims, in words. */
  dataOffset?: number;
  protocol?: number;
  /** Bytes behind the packet. */
  padding?: number;
}

export const CLIENT_MAC: Uint8Array = Uint8Array.of(2, 0, 0, 0, 0, 2);
export const SERVER_MAC: Uint8Array = Uint8Array.of(2, 0, 0, 0, 0, 1);
const FLAGS: [letter: string, bit: number][] = [["S", 2], ["A", 16], ["F", 1], ["R", 4], ["P", 8], ["U", 32]];
const ETHERNET_BYTES = 14;

/** RFC 1071, as it is explained there: 16-bit words in network order, carries added at the end. */
export function internetSum(bytes: Uint8Array, initial = 0): number {
  let sum = initial;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes[i]! * 256 + (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = Math.floor(sum / 65_536) + sum % 65_536;
  return sum;
}

/** A frame from the client to the server. */
export function ethernetFrame(type: number, payload: Uint8Array, padding = 0): Uint8Array {
  const frame = new Uint8Array(ETHERNET_BYTES + payload.length + padding);
  frame.set(SERVER_MAC);
  frame.set(CLIENT_MAC, 6);
  new DataView(frame.buffer).setUint16(12, type);
  frame.set(payload, ETHERNET_BYTES);
  return frame.fill(0xee, ETHERNET_BYTES + payload.length);
}

/** An IPv4 packet in a frame. */
export function ipFrame(from: number, to: number, payload: Uint8Array, odd: Oddities = {}): Uint8Array {
  const options = odd.ipOptions ?? new Uint8Array(0);
  const header = new Uint8Array(20 + options.length);
  const view = new DataView(header.buffer);
  view.setUint8(0, (odd.version ?? 4) << 4 | (odd.headerWords ?? header.length / 4));
  view.setUint16(2, odd.totalLength ?? header.length + payload.length);
  view.setUint16(4, 0x1234);
  view.setUint16(6, odd.fragment ?? 0x4000);
  view.setUint8(8, 64);
  view.setUint8(9, odd.protocol ?? 6);
  view.setUint32(12, from);
  view.setUint32(16, to);
  header.set(options, 20);
  view.setUint16(10, (0xffff - internetSum(header)) + (odd.ipChecksumError ?? 0));
  return ethernetFrame(0x0800, Uint8Array.of(...header, ...payload), odd.padding);
}

function pseudoSum(from: number, to: number, length: number): number {
  const header = new DataView(new ArrayBuffer(12));
  header.setUint32(0, from);
  header.setUint32(4, to);
  header.setUint16(8, 6);
  header.setUint16(10, length);
  return internetSum(new Uint8Array(header.buffer));
}

/** A TCP segment in a frame. What is not given is 0 or empty; the window is 65 535. */
export function tcpFrame(
  segment: Pick<TcpSegment, "from" | "to" | "flags"> & Partial<TcpSegment>,
  odd: Oddities = {},
): Uint8Array {
  const { from, to, flags, seq = 0, ack = 0, window = 65_535 } = segment;
  const options = segment.options ?? new Uint8Array(0);
  const data = segment.data ?? new Uint8Array(0);
  const bytes = new Uint8Array(20 + options.length + data.length);
  const view = new DataView(bytes.buffer);
  const bits = FLAGS.reduce((sum, [letter, bit]) => flags.includes(letter) ? sum | bit : sum, 0);
  view.setUint16(0, from[1]);
  view.setUint16(2, to[1]);
  view.setUint32(4, seq);
  view.setUint32(8, ack);
  view.setUint16(12, (odd.dataOffset ?? 5 + options.length / 4) << 12 | bits);
  view.setUint16(14, window);
  bytes.set(options, 20);
  bytes.set(data, 20 + options.length);
  const sum = 0xffff - internetSum(bytes, pseudoSum(from[0], to[0], bytes.length));
  view.setUint16(16, sum + (odd.tcpChecksumError ?? 0));
  return ipFrame(from[0], to[0], bytes, odd);
}

/**
 * Takes a frame apart.
 *
 * @throws {Error} If it is no sound TCP segment: a length or a checksum is wrong.
 */
export function parseTcp(frame: Uint8Array): TcpSegment {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  if (view.getUint16(12) !== 0x0800 || view.getUint8(23) !== 6) throw new Error("A frame without TCP.");
  const header = frame.subarray(ETHERNET_BYTES, ETHERNET_BYTES + 20);
  if (view.getUint8(ETHERNET_BYTES) !== 0x45) throw new Error("Not version 4 without options.");
  if (internetSum(header) !== 0xffff) throw new Error("The checksum of the IPv4 header is wrong.");
  if (view.getUint16(16) !== frame.length - ETHERNET_BYTES) {
    throw new Error("The total length is not that of the frame.");
  }
  const [from, to] = [view.getUint32(26), view.getUint32(30)];
  const tcp = frame.subarray(ETHERNET_BYTES + 20);
  if (internetSum(tcp, pseudoSum(from, to, tcp.length)) !== 0xffff) throw new Error("The checksum of TCP is wrong.");
  const offset = (tcp[12]! >> 4) * 4;
  if (offset < 20 || offset > tcp.length) throw new Error("The data offset is wrong.");
  return {
    from: [from, view.getUint16(34)],
    to: [to, view.getUint16(36)],
    seq: view.getUint32(38),
    ack: view.getUint32(42),
    flags: FLAGS.filter(([_, bit]) => (tcp[13]! & bit) !== 0).map(([letter]) => letter).join(""),
    window: view.getUint16(48),
    options: tcp.slice(20, offset),
    data: tcp.slice(offset),
  };
}

/** The option that says how much data fits into a segment. */
export const mssOption = (mss: number): Uint8Array => Uint8Array.of(2, 4, mss >> 8, mss & 255);
