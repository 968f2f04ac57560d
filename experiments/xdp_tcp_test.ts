/** The TCP of xdp as what it is: a function from frames and time to frames. Each case names what demands it. */
import { assert, assertEquals, assertGreater, assertLess, assertNotEquals } from "@std/assert";
import {
  CLIENT_MAC,
  ethernetFrame,
  internetSum,
  ipFrame,
  mssOption,
  SERVER_MAC,
  tcpFrame,
  type TcpSegment,
} from "../lib/testing/frames.ts";
import {
  bytesOf,
  CLIENT,
  get,
  Host,
  type HostOptions,
  HOUR_MS,
  Peer,
  SERVER,
  SERVER_IP,
  text,
} from "../lib/testing/tcp_host.ts";
import { checksum, sipHash, Tcp } from "./xdp.ts";

const HELLO = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World";
const WINDOW = 32_768; // that xdp offers
const RTO_MS = 1000; // before a round trip was measured
const FIELDS = { from: CLIENT, to: SERVER };
const SACK_PERMITTED = Uint8Array.of(2, 4, 5, 180, 4, 2, 1, 1);

const hostOf = (options?: HostOptions) => new Host((parts) => new Tcp(parts), options);
const peerOf = (options?: HostOptions) => new Peer(hostOf(options)).connect();
const flagsOf = (segments: { flags: string }[]) => segments.map(({ flags }) => flags);
const lengthsOf = (segments: { data: Uint8Array }[]) => segments.map(({ data }) => data.length);
const add = (number: number, more: number) => number + more >>> 0;

/** Starts an exchange of more bytes than the initial window: so many answers to one segment of requests. */
function flood(peer: Peer, requests: number) {
  const sent = [];
  for (let left = requests; left > 0;) {
    const count = Math.min(left, 40);
    sent.push(...peer.send(get().repeat(count)));
    left -= count;
  }
  return sent.filter(({ data }) => data.length > 0);
}

// -- the handshake

Deno.test("RFC 9293, 3.5: a SYN is answered by SYN and ACK of the next number", () => {
  const [answer] = new Peer(hostOf(), CLIENT, 77).segment("S");
  assertEquals([answer!.flags, answer!.ack, answer!.from, answer!.to], ["SA", 78, SERVER, CLIENT]);
});

Deno.test("RFC 4987, 3.6: a SYN leaves no state", () => {
  const host = hostOf();
  for (let port = 1; port < 500; port++) new Peer(host, [CLIENT[0], port]).segment("S");
  assertEquals([host.tcp.open, host.tcp.busy, host.table.every((word) => word === 0)], [0, 0, true]);
});

Deno.test("RFC 4987, 3.6: the last ACK of the handshake makes 16 bytes of a connection and no record", () => {
  const { host } = peerOf();
  assertEquals([host.tcp.open, host.tcp.busy, host.tcp.counts.accepted], [1, 0, 1]);
  assertEquals(host.table.filter((word) => word !== 0).length <= 4, true);
});

Deno.test("RFC 4987, 3.6: an ACK without a right cookie is refused", () => {
  const host = hostOf();
  const peer = new Peer(host);
  const [answer] = peer.segment("S");
  for (const error of [0x10_0000, 0x80_0000, 0x0100_0000, 0x4000_0000]) {
    const ack = add(answer!.seq, 1 + error);
    const [reset, ...more] = peer.segment("A", { seq: add(peer.seq, 1), ack });
    assertEquals([reset?.flags, reset?.seq, more.length], ["R", ack, 0]);
  }
  assertEquals(host.tcp.open, 0);
});

for (const [what, from] of [["port", [CLIENT[0], 40_001]], ["address", [CLIENT[0] + 1, CLIENT[1]]]] as const) {
  Deno.test(`RFC 4987, 3.6: the cookie of another ${what} is refused`, () => {
    const host = hostOf();
    const [answer] = new Peer(host).segment("S");
    const thief = new Peer(host, [...from]);
    const [reset] = thief.segment("A", { seq: 1001, ack: add(answer!.seq, 1) });
    assertEquals([reset?.flags, host.tcp.open], ["R", 0]);
  });
}

Deno.test("RFC 4987, 3.6: a segment that overtook the handshake's last ACK is dropped and not refused", () => {
  const host = hostOf();
  const peer = new Peer(host);
  const [answer] = peer.segment("S");
  const late = { seq: 1001 + 500, ack: add(answer!.seq, 1) };
  assertEquals(peer.segment("PA", { ...late, data: bytesOf(get()) }), []);
  assertEquals([host.tcp.open, host.tcp.packets.bad_cookies], [0, 1]);
  assertEquals(peer.segment("A", { ...late, seq: 1001 }), []);
  assertEquals(host.tcp.open, 1);
});

Deno.test("RFC 4987, 3.6: of a thousand connections none begins with a segment that overtook others", () => {
  const host = hostOf({ slots: 4000 });
  for (let port = 1; port <= 1000; port++) {
    const peer = new Peer(host, [CLIENT[0], port], Math.imul(port, 0x9e3779b1) >>> 0);
    const ack = add(peer.segment("S")[0]!.seq, 1);
    for (let at = 30; at < 300; at += 30) peer.segment("PA", { seq: add(peer.seq, 1 + at), ack, data: bytesOf(get()) });
  }
  assertEquals([host.tcp.open, host.tcp.packets.bad_cookies], [0, 9000]);
});

Deno.test("RFC 4987, 3.6: a cookie is good for one to two minutes, and no longer", () => {
  for (const [ms, opens] of [[60_000, 1], [140_000, 0]] as const) {
    const host = hostOf();
    const peer = new Peer(host);
    const [answer] = peer.segment("S");
    host.advance(ms);
    peer.segment("A", { seq: 1001, ack: add(answer!.seq, 1) });
    assertEquals(host.tcp.open, opens, `${ms} ms`);
  }
});

Deno.test("RFC 6528, 3: initial numbers of connections and of secrets have nothing in common", () => {
  const numbers = new Set<number>();
  for (const secret of [Int32Array.of(1, 2, 3, 4, 5, 6), Int32Array.of(1, 2, 3, 5, 5, 6)]) {
    const host = hostOf({ secret });
    for (let port = 1; port <= 1000; port++) {
      numbers.add(new Peer(host, [CLIENT[0], port]).segment("S")[0]!.seq & 0xffffff);
    }
  }
  assertGreater(numbers.size, 1990);
});

Deno.test("RFC 6528, 3: the keyed hash is SipHash-2-4, by the test vector of 16 bytes of its appendix A", () => {
  const key = new Int32Array(Uint8Array.from({ length: 16 }, (_, i) => i).buffer);
  const out = new Int32Array(2);
  sipHash(key, key[0]!, key[1]!, key[2]!, key[3]!, out);
  assertEquals([out[0]! >>> 0, out[1]! >>> 0], [0x57c29bdb, 0x3f2acc7f]);
});

Deno.test("RFC 9293, 3.7.1: SYN and ACK say which segments fit: 40 bytes less than the MTU", () => {
  for (const [mtu, mss] of [[1500, 1460], [1280, 1240], [9000, 1460]] as const) {
    const [answer] = new Peer(hostOf({ mtu })).segment("S");
    assertEquals(answer!.options, mssOption(mss));
  }
});

const SIZES: [options: Uint8Array, longest: number, why: string][] = [
  [mssOption(1460), 1460, "the peer's"],
  [mssOption(1400), 1380, "the next smaller one that a cookie can hold"],
  [mssOption(536), 536, "the peer's"],
  [mssOption(90), 88, "the smallest"],
  [mssOption(9000), 1460, "the own one"],
  [new Uint8Array(0), 536, "the default"],
  [Uint8Array.of(1, 1, 1, 4, 2, 4, 5, 180, 3, 3, 7, 0), 536, "the default, as a length is wrong"],
  [Uint8Array.of(1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 4, 0, 0), 1024, "the one behind other options"],
  [Uint8Array.of(5, 0, 0, 0), 536, "the default, as an option of no length hides the rest"],
  [Uint8Array.of(0, 2, 4, 5), 536, "the default, as the options end before"],
];
for (const [options, longest, why] of SIZES) {
  Deno.test(`RFC 9293, 3.7.1: options ${[...options].join(" ") || "of no byte"} make segments of ${longest}: ${why}`, () => {
    const peer = new Peer(hostOf()).connect(options);
    const sent = peer.send(get().repeat(40));
    assertEquals(Math.max(...lengthsOf(sent)), longest);
  });
}

Deno.test("RFC 9293, 3.7.1: a SYN that allows fewer than 88 bytes in a segment is dropped", () => {
  assertEquals(new Peer(hostOf()).segment("S", { options: mssOption(87) }), []);
});

Deno.test("RFC 7323, 2.2: window scale and timestamps are not accepted, so they are not used", () => {
  const options = Uint8Array.of(2, 4, 5, 180, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7);
  assertEquals(new Peer(hostOf()).segment("S", { options })[0]!.options, mssOption(1460));
});

Deno.test("RFC 2018, 2: SACK is permitted to a peer that permits it", () => {
  const [answer] = new Peer(hostOf()).segment("S", { options: SACK_PERMITTED });
  assertEquals(answer!.options, Uint8Array.of(...mssOption(1460), 1, 1, 4, 2));
});

Deno.test("RFC 4987, 2.2: a SYN is dropped and counted when the table is full, and connections in it go on", () => {
  const host = hostOf({ slots: 10 });
  const peers = Array.from({ length: 8 }, (_, i) => new Peer(host, [CLIENT[0], 1000 + i]).connect());
  assertEquals(new Peer(host).segment("S"), []);
  assertEquals([host.tcp.open, host.tcp.packets.table_full], [8, 1]);
  for (const peer of peers) assertEquals(peer.ask(), HELLO);
});

Deno.test("RFC 9293, 3.5: the last ACK of the handshake may bring data", () => {
  const peer = new Peer(hostOf());
  const [answer] = peer.segment("S");
  peer.seq = add(peer.seq, 1);
  peer.ack = add(answer!.seq, 1);
  assertEquals(text(peer.send(get())), HELLO);
});

Deno.test("RFC 9293, 3.5: a repeated SYN gets the same answer, and a late one does no harm", () => {
  const peer = new Peer(hostOf());
  const [first] = peer.segment("S");
  const [second] = peer.segment("S");
  assertEquals(first, second);
  peer.connect();
  peer.segment("S", { seq: 1000 });
  assertEquals(peer.ask(), HELLO);
});

Deno.test("RFC 9293, 3.10.7.1: a port where nothing listens answers by a reset that can be believed", () => {
  const host = hostOf();
  const to: [number, number] = [SERVER_IP, 9999];
  host.give(tcpFrame({ from: CLIENT, to, seq: 5, flags: "S" }));
  host.give(tcpFrame({ from: CLIENT, to, seq: 5, ack: 99, flags: "A" }));
  host.give(tcpFrame({ from: CLIENT, to, seq: 5, flags: "F", data: bytesOf("abc") }));
  host.give(tcpFrame({ from: CLIENT, to, seq: 5, ack: 99, flags: "R" }));
  const answers = host.take().map(({ from, flags, seq, ack }) => [from[1], flags, seq, ack]);
  assertEquals(answers, [[9999, "AR", 0, 6], [9999, "R", 99, 0], [9999, "AR", 0, 9]]);
});

Deno.test("RFC 9293, 3.10.7.2: a listener refuses ACKs, and drops resets and segments without a meaning", () => {
  const peer = new Peer(hostOf());
  const sent = ["A", "SA", "FA", "R", "", "P", "U"].map((flags) => flagsOf(peer.segment(flags, { ack: 5 })));
  assertEquals(sent, [["R"], ["R"], ["R"], [], [], [], []]);
});

// -- data

Deno.test("RFC 9293, 3.10.7.4: data in order is acknowledged by its answer", () => {
  const peer = peerOf();
  const [answer, ...more] = peer.send(get());
  assertEquals([answer!.flags, answer!.seq, answer!.ack, more.length], ["AP", peer.ack, peer.seq, 0]);
});

Deno.test("RFC 9293, 3.3.1: an idle connection gives its record back once its answer is acknowledged", () => {
  const peer = peerOf();
  const answers = peer.send(get());
  assertEquals(peer.host.tcp.busy, 1);
  peer.acknowledge(answers);
  assertEquals([peer.host.tcp.busy, peer.host.tcp.open], [0, 1]);
});

Deno.test("RFC 9293, 3.8: a head that comes byte by byte is acknowledged byte by byte, and answered once", () => {
  const peer = peerOf();
  const request = get();
  for (const [i, byte] of [...request].entries()) {
    const [answer, ...more] = peer.send(byte);
    assertEquals([answer!.ack, more.length], [peer.seq, 0]);
    assertEquals(text([answer!]), i === request.length - 1 ? HELLO : "");
  }
});

Deno.test("RFC 9112, 9.3.2: pipelined requests are answered in order, in as few segments as they fit into", () => {
  const sent = peerOf().send(get().repeat(3) + get("/x") + get());
  assertEquals(text(sent), HELLO.repeat(3) + "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" + HELLO);
  assertEquals(sent.length, 1);
});

Deno.test("RFC 9293, 3.4: sequence numbers of the peer wrap around", () => {
  const peer = new Peer(hostOf(), CLIENT, 0xffff_fff0).connect();
  for (let i = 0; i < 5; i++) assertEquals(peer.ask(), HELLO);
  assertLess(peer.seq, 1000);
});

Deno.test("RFC 9293, 3.4: the own sequence numbers wrap around", () => {
  const peer = peerOf();
  const rounds = Math.ceil((2 ** 32 - peer.ack) / (40 * HELLO.length)) + 1;
  const steps = Math.min(rounds, 300);
  let number = peer.ack;
  for (let i = 0; i < steps; i++) {
    const sent = peer.send(get().repeat(20));
    peer.acknowledge(sent);
    assertEquals(peer.ack, add(number, 20 * HELLO.length));
    number = peer.ack;
  }
});

Deno.test("RFC 9293, 3.10.7.4: a duplicate is acknowledged and not answered again", () => {
  const peer = peerOf();
  const before = peer.seq;
  peer.acknowledge(peer.send(get()));
  const [answer, ...more] = peer.segment("PA", { seq: before, data: bytesOf(get()) });
  assertEquals([answer!.flags, answer!.ack, answer!.data.length, more.length], ["A", peer.seq, 0, 0]);
  assertEquals(peer.host.tcp.counts.served, 1);
});

Deno.test("RFC 9293, 3.10.7.4: of a segment that overlaps, only what is new counts", () => {
  const peer = peerOf();
  const request = get();
  peer.send(request.slice(0, 20));
  const sent = peer.segment("PA", { seq: add(peer.seq, -10), data: bytesOf(request.slice(10)) });
  assertEquals(text(sent), HELLO);
});

Deno.test("RFC 5681, 4.2: data behind a hole is answered by a duplicate ACK, at once", () => {
  const peer = peerOf();
  const [answer, ...more] = peer.segment("PA", { seq: add(peer.seq, 50), data: bytesOf(get()) });
  assertEquals([answer!.flags, answer!.ack, more.length], ["A", peer.seq, 0]);
  assertEquals(peer.ask(), HELLO);
});

/** A peer that understands SACK. */
const sackPeer = () => new Peer(hostOf()).connect(SACK_PERMITTED);

/** Sends a part of a text without moving on: the text starts at the peer's next number. */
const part = (peer: Peer, data: string, from: number, to: number, flags = "PA") =>
  peer.segment(flags, { seq: add(peer.seq, from), data: bytesOf(data.slice(from, to)) });

/** The blocks of the SACK option of the last segment, as distances from the peer's next number. */
function blocksOf(peer: Peer, sent: { options: Uint8Array }[]): [number, number][] {
  const { options } = sent.at(-1)!;
  if (options.length === 0) return [];
  assertEquals([...options.subarray(0, 4)], [1, 1, 5, options.length - 2]);
  const view = new DataView(options.buffer, options.byteOffset);
  const blocks = Array.from({ length: (options.length - 4) / 8 }, (_, i) => 4 + 8 * i);
  return blocks.map((at) => [view.getUint32(at) - peer.seq | 0, view.getUint32(at + 4) - peer.seq | 0]);
}

Deno.test("RFC 9293, 3.10.7.4: what came behind a hole is kept, so only the hole comes again", () => {
  const peer = peerOf();
  const requests = get().repeat(8);
  for (const [from, to] of [[90, 130], [30, 60], [60, 90]] as const) part(peer, requests, from, to);
  assertEquals(text(part(peer, requests, 0, 30)), HELLO.repeat(Math.floor(130 / get().length)));
  peer.seq = add(peer.seq, 130);
  assertEquals(text(peer.segment("PA", { data: bytesOf(requests.slice(130)) })).endsWith(HELLO), true);
  assertEquals(peer.host.tcp.counts.served, 8);
});

Deno.test("RFC 9293, 3.10.7.4: pieces that overlap, repeat or are known already change no byte", () => {
  const peer = peerOf();
  const requests = get() + get("/x") + get();
  const parts = [[50, 80], [40, 60], [50, 80], [55, 70], [20, 45], [30, requests.length], [0, 25], [10, 30]] as const;
  const answers = parts.map(([from, to]) => text(part(peer, requests, from, to))).join("");
  assertEquals(answers, HELLO + "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" + HELLO);
});

Deno.test("RFC 9293, 3.10.7.4: a FIN behind a hole is kept as well", () => {
  const peer = peerOf();
  part(peer, get(), 10, get().length, "FPA");
  assertEquals(flagsOf(part(peer, get(), 0, 10)), ["AFP"]);
});

Deno.test("RFC 2018, 4: a duplicate ACK names what is kept, the part that came last first", () => {
  const peer = sackPeer();
  const requests = get().repeat(10);
  const blocks = [[100, 120], [40, 60], [120, 130], [160, 170], [200, 210], [240, 250], [60, 70]] as const;
  const seen = blocks.map(([from, to]) => blocksOf(peer, part(peer, requests, from, to)));
  assertEquals(seen[0], [[100, 120]]);
  assertEquals(seen[1], [[40, 60], [100, 120]]);
  assertEquals(seen[2], [[100, 130], [40, 60]]);
  assertEquals(seen[3]![0], [160, 170]);
  assertEquals(seen.map((list) => list.length), [1, 2, 2, 3, 4, 4, 4]);
  for (const [i, list] of seen.entries()) assert(list[0]![0] <= blocks[i]![0] && list[0]![1] >= blocks[i]![1]);
});

Deno.test("RFC 2018, 4: no block is named once the hole is filled, and none to a peer that did not permit it", () => {
  const peer = sackPeer();
  part(peer, get(), 10, 20);
  assertEquals(blocksOf(peer, part(peer, get(), 0, 10)), []);
  const other = peerOf();
  assertEquals(blocksOf(other, part(other, get(), 10, 20)), []);
});

Deno.test("RFC 2018, 4: where an answer acknowledges, and a hole is behind it, the blocks follow by themselves", () => {
  const peer = sackPeer();
  const length = get().length;
  const requests = get().repeat(3);
  part(peer, requests, 2 * length, 3 * length);
  const sent = part(peer, requests, 0, length);
  assertEquals([flagsOf(sent), text(sent)], [["AP", "A"], HELLO]);
  assertEquals(blocksOf(peer, sent), [[2 * length, 3 * length]]);
});

Deno.test("RFC 2018, 2: what a SYN permitted outlives an exchange and an idle time", () => {
  const peer = sackPeer();
  peer.ask();
  peer.host.advance(20_000);
  assertEquals(blocksOf(peer, part(peer, get(), 5, 10)), [[5, 10]]);
});

Deno.test("RFC 2018, 8: pieces behind a hole that nobody fills are thrown away, and the connection is idle again", () => {
  const peer = sackPeer();
  part(peer, get(), 10, 20);
  assertEquals(peer.host.tcp.busy, 1);
  peer.host.advance(10_100);
  assertEquals([peer.host.tcp.busy, peer.host.tcp.open, peer.host.tcp.counts.errors], [0, 1, {}]);
  assertEquals(peer.ask(), HELLO);
});

Deno.test("RFC 2018, 8: so many pieces are kept and no more; what was not kept is not named, and comes again", () => {
  const peer = sackPeer();
  const requests = get().repeat(20);
  for (let at = 2; at < 202; at += 2) part(peer, requests, at, at + 1);
  assertEquals(blocksOf(peer, part(peer, requests, 202, 203)).every(([from]) => from <= 2 * 16), true);
  assertEquals(text(part(peer, requests, 0, requests.length)), HELLO.repeat(20));
});

Deno.test("RFC 9293, 3.10.7.4: data beyond the window is acknowledged and not taken", () => {
  const peer = peerOf();
  const [answer] = peer.segment("PA", { seq: add(peer.seq, WINDOW), data: bytesOf(get()) });
  assertEquals([answer!.ack, peer.host.tcp.packets.unacceptable], [peer.seq, 1]);
});

Deno.test("RFC 9293, 3.10.7.4: an acknowledgement that is old changes nothing", () => {
  const peer = peerOf();
  const before = peer.ack;
  peer.ask();
  assertEquals(peer.segment("A", { ack: before }), []);
  assertEquals(peer.ask(), HELLO);
});

Deno.test("RFC 5961, 5.2: an acknowledgement of what was not sent is challenged, and its data dropped", () => {
  const peer = peerOf();
  for (const error of [1, 100_000, -70_000, 2 ** 31]) {
    const [answer, ...more] = peer.segment("PA", { ack: add(peer.ack, error), data: bytesOf(get()) });
    assertEquals([answer!.flags, answer!.seq, answer!.ack, more.length], ["A", peer.ack, peer.seq, 0], `${error}`);
  }
  assertEquals(peer.host.tcp.counts.served, 0);
});

Deno.test("RFC 9293, 3.10.7.4: a segment without ACK is dropped", () => {
  const peer = peerOf();
  assertEquals(peer.segment("P", { data: bytesOf(get()) }), []);
  assertEquals(peer.ask(), HELLO);
});

Deno.test("RFC 9293, 3.1: a wrong checksum of TCP is dropped and counted", () => {
  const peer = peerOf();
  const { seq, ack, host } = peer;
  host.give(tcpFrame({ ...FIELDS, seq, ack, flags: "PA", data: bytesOf(get()) }, { tcpChecksumError: 1 }));
  assertEquals([host.sent.length, host.tcp.packets.bad_checksum], [0, 1]);
});

Deno.test("RFC 1071, 1: the sum is right for each number of bytes, whole words or not", () => {
  const bytes = Uint8Array.from({ length: 64 }, (_, i) => i * 37 + 0xf0);
  const words = new Int32Array(bytes.buffer);
  for (let length = 1; length <= bytes.length; length++) {
    const sum = checksum(words, bytes, 0, length, 0);
    assertEquals(sum >>> 8 | (sum & 255) << 8, internetSum(bytes.subarray(0, length)), `${length} bytes`);
  }
  bytes.fill(0xff);
  assertEquals(checksum(words, bytes, 0, bytes.length, 0xffff), 0xffff); // every addition carries
});

// As `parseTcp` reads a segment, it compares the checksum with one of its own.
Deno.test("RFC 9293, 3.1: each answer has a right checksum: alone, in parts, behind others, and as the last one", () => {
  const requests: [status: number, request: string][] = [
    [200, get()],
    [400, "GET / HTTP/1.1\r\nno field\r\n\r\n"],
    [404, get("/x")],
    [405, get().replace("GET", "PUT")],
    [431, get("/", `X: ${"x".repeat(9000)}`)],
    [505, get().replace("1.1", "2.0")],
  ];
  for (const [status, request] of requests) {
    for (const before of ["", get(), get("/x").repeat(3)]) {
      const peer = peerOf();
      const sent = [];
      for (let at = 0; at < before.length + request.length; at += 1400) {
        sent.push(...peer.send((before + request).slice(at, at + 1400)));
      }
      assert(text(sent).includes(`HTTP/1.1 ${status} `), `${status}`);
    }
    const slow = new Peer(hostOf()).connect(mssOption(88));
    slow.window = 7; // so that an answer leaves in parts that begin and end anywhere
    let sent = slow.send(request.slice(0, 80));
    for (let at = 80; at < request.length; at += 80) sent.push(...slow.send(request.slice(at, at + 80)));
    let answer = "";
    for (let parts = 0; parts < 100 && sent.length > 0; parts++) {
      answer += text(sent);
      sent = slow.acknowledge(sent).filter(({ data }) => data.length > 0);
    }
    assert(answer.startsWith(`HTTP/1.1 ${status} `), answer);
  }
});

Deno.test("RFC 9293, 3.1: an odd number of bytes is summed up with a zero behind it", () => {
  const peer = peerOf();
  assertEquals(flagsOf(peer.send("GET")), ["A"]);
  assertEquals(peer.host.tcp.packets.bad_checksum, 0);
});

Deno.test("RFC 9293, 3.1: a data offset that is too small or beyond the segment is dropped", () => {
  const host = hostOf();
  for (const dataOffset of [0, 4, 6, 15]) host.give(tcpFrame({ ...FIELDS, flags: "S" }, { dataOffset }));
  assertEquals([host.sent.length, host.tcp.packets.malformed], [0, 4]);
});

Deno.test("RFC 1122, 4.2.3.6: a keepalive probe is answered, with and without its byte", () => {
  const peer = peerOf();
  for (const data of [new Uint8Array(0), Uint8Array.of(0)]) {
    const [answer] = peer.segment("A", { seq: add(peer.seq, -1), data });
    assertEquals([answer!.flags, answer!.seq, answer!.ack], ["A", peer.ack, peer.seq]);
  }
});

// -- resets and forged segments

Deno.test("RFC 5961, 3.2: a reset with exactly the next number ends the connection", () => {
  const peer = peerOf();
  assertEquals(peer.segment("R"), []);
  assertEquals([peer.host.tcp.open, peer.host.tcp.counts.errors], [0, { ECONNRESET: 1 }]);
});

Deno.test("RFC 5961, 3.2: a reset elsewhere in the window is challenged", () => {
  const peer = peerOf();
  for (const offset of [1, 1000, WINDOW - 1]) {
    const [answer] = peer.segment("R", { seq: add(peer.seq, offset) });
    assertEquals([answer!.flags, answer!.seq, answer!.ack], ["A", peer.ack, peer.seq]);
  }
  assertEquals(peer.ask(), HELLO);
});

Deno.test("RFC 5961, 3.2: a reset outside the window is dropped", () => {
  const peer = peerOf();
  for (const offset of [-1, WINDOW, 2 ** 31]) assertEquals(peer.segment("R", { seq: add(peer.seq, offset) }), []);
  assertEquals(peer.ask(), HELLO);
});

Deno.test("RFC 5961, 3.2: the same holds while something is in flight", () => {
  const peer = peerOf();
  peer.send(get());
  assertEquals(flagsOf(peer.segment("R", { seq: add(peer.seq, 1) })), ["A"]);
  assertEquals(peer.segment("R"), []);
  assertEquals([peer.host.tcp.open, peer.host.tcp.busy], [0, 0]);
});

Deno.test("RFC 5961, 4.2: a SYN on a connection is challenged, whatever its number", () => {
  const peer = peerOf();
  for (const offset of [0, 5, -5, 2 ** 31]) {
    assertEquals(flagsOf(peer.segment("S", { seq: add(peer.seq, offset) })), ["A"]);
  }
  assertEquals(peer.ask(), HELLO);
});

Deno.test("RFC 5961, 7: challenges are limited in each second", () => {
  const peer = peerOf();
  const challenge = () => {
    let sent = 0;
    for (let i = 0; i < 3000; i++) sent += peer.segment("S").length;
    return sent;
  };
  const first = challenge();
  peer.host.advance(1100);
  const second = challenge();
  for (const sent of [first, second]) assert(sent >= 500 && sent <= 1000, `${sent} challenges`);
});

// -- retransmission

Deno.test("RFC 6298, 5.4: what is not acknowledged in time is sent again, the same bytes", () => {
  const peer = peerOf();
  const [first] = peer.send(get());
  peer.host.advance(RTO_MS - 50);
  assertEquals(peer.host.take(), []);
  peer.host.advance(100);
  assertEquals(peer.host.take(), [first]);
});

Deno.test("RFC 6298, 5.5: each timeout doubles the next one", () => {
  const peer = peerOf();
  peer.send(get());
  const times = [];
  for (let ms = 0; ms < 20_000; ms += 10) {
    peer.host.advance(10);
    if (peer.host.take().length > 0) times.push(Math.round(ms / 100) / 10);
  }
  assertEquals(times, [1, 3, 7, 15]);
});

Deno.test("RFC 9293, 3.8.3: a peer that acknowledges nothing for 30 s is given up, by a reset", () => {
  const peer = peerOf();
  peer.send(get());
  peer.host.advance(31_000);
  assertEquals(flagsOf(peer.host.take()).at(-1), "AR");
  assertEquals([peer.host.tcp.open, peer.host.tcp.counts.errors], [0, { ETIMEDOUT: 1 }]);
});

Deno.test("RFC 6298, 5.3: the first round trip, measured while more is out, starts the timer at three times itself", () => {
  const peer = peerOf();
  const first = peer.send(get());
  peer.host.advance(400);
  peer.send(get(), "PA"); // keeps the record busy while the first answer is acknowledged
  peer.ack = add(first[0]!.seq, HELLO.length);
  peer.segment("A");
  peer.host.advance(1150);
  assertEquals(peer.host.take(), []);
  peer.host.advance(100);
  assertEquals(text(peer.host.take()), HELLO);
});

/** A peer of which so many round trips of so many ms were measured. */
function timedPeer(roundTripsMs: number[]): Peer {
  const peer = peerOf();
  for (const ms of roundTripsMs) {
    const sent = peer.send(get());
    peer.host.advance(ms);
    peer.acknowledge(sent);
  }
  return peer;
}

/** After how many ms an answer that is not acknowledged comes again. */
function timeoutOf(peer: Peer): number {
  peer.send(get());
  for (let ms = 10; ms < 10_000; ms += 10) {
    peer.host.advance(10);
    if (peer.host.take().length > 0) return ms;
  }
  return Infinity;
}

// SRTT and RTTVAR by the formulas: 1: R, R/2; then RTTVAR = 3/4 RTTVAR + 1/4 |SRTT − R|, SRTT = 7/8 SRTT + 1/8 R.
const ROUND_TRIPS: [ms: number[], rto: number, why: string][] = [
  [[400], 400 + 4 * 200, "2.2: the first one"],
  [[400, 400], 400 + 4 * 150, "2.3: the second one, which is no other"],
  [[400, 200], 375 + 4 * 200, "2.3: the second one, which is shorter"],
  [[400, 800], 450 + 4 * 250, "2.3: the second one, which is longer"],
  [[10], 200, "2.4: less than the least timeout"],
];
for (const [times, rto, why] of ROUND_TRIPS) {
  Deno.test(`RFC 6298, ${why}: after round trips of ${times.join(" and ")} ms the timer is ${rto} ms`, () => {
    const ms = timeoutOf(timedPeer(times));
    assert(Math.abs(ms - rto) <= 20, `${ms} ms`); // the tick, and what a fixed point leaves out
  });
}

Deno.test("RFC 1122, 4.2.3.5: a segment is sent again seven times at most, then the connection is given up", () => {
  const peer = timedPeer([10]);
  peer.send(get());
  peer.host.advance(200_000);
  const sent = peer.host.take();
  assertEquals([sent.length, flagsOf(sent).at(-1)], [8, "AR"]);
  assertEquals([peer.host.tcp.open, peer.host.tcp.busy], [0, 0]);
});

Deno.test("RFC 6298, 3: a segment that was sent twice is not timed", () => {
  const peer = peerOf();
  const sent = peer.send(get());
  peer.host.advance(1500); // sent again at 1000
  peer.host.take();
  peer.send(get());
  peer.ack = add(sent[0]!.seq, HELLO.length);
  peer.segment("A");
  peer.host.advance(1950); // had 500 or 1500 ms been taken for the round trip, the timer would be 1500 or 4500
  assertEquals(peer.host.take(), []);
  peer.host.advance(100);
  assertEquals(text(peer.host.take()), HELLO);
});

Deno.test("RFC 6298, 5.5: a back-off stays until a round trip is measured anew", () => {
  const peer = peerOf();
  peer.send(get());
  peer.host.advance(RTO_MS + 50); // sent again, and the timer is 2000
  const [again] = peer.host.take();
  peer.send(get());
  peer.acknowledge([again!]);
  peer.host.advance(1900);
  assertEquals(peer.host.take(), []);
  peer.host.advance(200);
  assertEquals(text(peer.host.take()), HELLO);
});

Deno.test("RFC 9040, 4: the round trip that was measured serves the next connection from the same address", () => {
  const { host } = peerOf();
  const first = new Peer(host, [CLIENT[0], 5]).connect();
  const sent = first.send(get());
  host.advance(50);
  first.acknowledge(sent);
  const second = new Peer(host, [CLIENT[0], 6]).connect();
  second.send(get());
  host.advance(190);
  assertEquals(host.take(), []);
  host.advance(50);
  assertEquals(text(host.take()), HELLO);
  const stranger = new Peer(host, [CLIENT[0] + 1, 6]).connect();
  stranger.send(get());
  host.advance(RTO_MS - 50);
  assertEquals(host.take().some(({ to }) => to[0] === CLIENT[0] + 1), false);
});

Deno.test("RFC 6298, 5.2: nothing is sent again once all is acknowledged", () => {
  const peer = peerOf();
  peer.ask();
  peer.host.advance(20_000);
  assertEquals(peer.host.take(), []);
});

Deno.test("RFC 6298, 5.3: an acknowledgement of a part starts the timer again, and the rest is sent again", () => {
  const peer = peerOf();
  const sent = peer.send(get().repeat(40));
  assertEquals(lengthsOf(sent), [1460, 40 * HELLO.length - 1460]);
  peer.host.advance(800);
  peer.acknowledge(sent.slice(0, 1));
  peer.host.advance(900);
  assertEquals(peer.host.take(), []);
  peer.host.advance(1700);
  assertEquals(peer.host.take()[0], sent[1]);
});

Deno.test("RFC 9293, 3.8.1: an acknowledgement inside a segment leaves the rest of it to be sent again", () => {
  const peer = peerOf();
  peer.send(get());
  peer.ack = add(peer.ack, 20);
  peer.segment("A");
  peer.host.advance(4000);
  const [again] = peer.host.take();
  assertEquals([again!.seq, text([again!])], [peer.ack, HELLO.slice(20)]);
});

Deno.test("RFC 9293, 3.8.1: no frame is free, so the answer leaves when its timer demands it", () => {
  const peer = peerOf();
  peer.host.hasFrames = false;
  assertEquals(peer.send(get()), []);
  peer.host.hasFrames = true;
  peer.host.advance(RTO_MS + 50);
  assertEquals(text(peer.host.take()), HELLO);
});

// -- congestion

Deno.test("RFC 6928, 2: ten segments leave before the first acknowledgement", () => {
  const bytes = lengthsOf(flood(peerOf(), 600)).reduce((sum, length) => sum + length, 0);
  assert(bytes > 9 * 1460 && bytes <= 10 * 1460, `${bytes} bytes`);
});

Deno.test("RFC 5681, 3.1: in slow start each acknowledged segment lets two leave", () => {
  const peer = peerOf();
  const sent = flood(peer, 600);
  const more = peer.acknowledge(sent.slice(0, 1));
  assertEquals(lengthsOf(more), [1460, 1460]);
});

Deno.test("RFC 5681, 3.1: after a timeout one segment leaves, then two, and the bytes are right", () => {
  const peer = peerOf();
  const sent = flood(peer, 200);
  peer.host.advance(RTO_MS + 50);
  const again = peer.host.take();
  assertEquals(again.map(({ seq }) => seq), [sent[0]!.seq]);
  assertEquals(lengthsOf(peer.acknowledge(again)).length, 2);
});

const bytesIn = (segments: { data: Uint8Array }[]) => lengthsOf(segments).reduce((sum, length) => sum + length, 0);

Deno.test("RFC 5681, 3.1, equation 4: a timeout halves what was out, and above that each round trip adds one segment", () => {
  const peer = peerOf();
  const out = bytesIn(flood(peer, 1000));
  peer.host.advance(RTO_MS + 50);
  let window = peer.host.take();
  const flights = [bytesIn(window)];
  while (flights.length < 7) {
    window = window.flatMap((segment) => peer.acknowledge([segment]));
    flights.push(bytesIn(window));
  }
  const segments = flights.map((bytes) => Math.round(bytes / 1460));
  assertEquals(segments.slice(0, 3), [1, 2, 4]); // slow start
  const half = Math.floor(out / 2 / 1460);
  for (const [i, count] of segments.slice(4).entries()) {
    assert(count > half && count <= half + 2 + i, `${segments}, of which ${half} are half`);
  }
});

Deno.test("RFC 5681, 3.2: when recovery ends, half of what was out may be out", () => {
  const peer = peerOf();
  const sent = flood(peer, 1000);
  for (let i = 0; i < 3; i++) sent.push(...peer.segment("A"));
  const fresh = peer.acknowledge(sent);
  assert(bytesIn(fresh) <= bytesIn(sent) / 2 + 1460 && bytesIn(fresh) > bytesIn(sent) / 4, `${bytesIn(fresh)} bytes`);
});

Deno.test("RFC 5681, 3.2: the third duplicate ACK has the first segment sent again, the first two nothing", () => {
  const peer = peerOf();
  const sent = flood(peer, 200);
  assertEquals([peer.segment("A"), peer.segment("A")], [[], []]);
  const [again] = peer.segment("A");
  assertEquals([again!.seq, text([again!])], [sent[0]!.seq, text(sent.slice(0, 1))]);
  assertEquals(peer.host.tcp.packets.fast_retransmissions, 1);
});

Deno.test("RFC 5681, 2: an ACK with data, or with another window, is no duplicate", () => {
  const peer = peerOf();
  flood(peer, 200);
  for (let i = 0; i < 4; i++) peer.segment("A", { window: 60_000 + i });
  for (const byte of "GET ") peer.send(byte);
  assertEquals(peer.host.tcp.packets.fast_retransmissions, 0);
});

Deno.test("RFC 6582, 3.2: an acknowledgement of a part in recovery has the next hole filled at once", () => {
  const peer = peerOf();
  const sent = flood(peer, 250);
  for (let i = 0; i < 3; i++) peer.segment("A");
  const again = peer.acknowledge(sent.slice(0, 1)); // only the first had been lost, and another one
  assertEquals(again[0]!.seq, sent[1]!.seq);
});

Deno.test("RFC 6582, 3.2: recovery ends when all that was out is acknowledged, and all bytes arrive", () => {
  const peer = peerOf();
  const sent = flood(peer, 250);
  for (let i = 0; i < 3; i++) sent.push(...peer.segment("A"));
  const bytes = new Map(sent.map((segment) => [segment.seq, segment]));
  for (let fresh = peer.acknowledge(sent); fresh.length > 0; fresh = peer.acknowledge(fresh)) {
    for (const segment of fresh) bytes.set(segment.seq, segment);
  }
  const all = [...bytes.values()].toSorted((a, b) => a.seq - b.seq | 0);
  assertEquals(text(all), HELLO.repeat(250));
});

// -- windows

Deno.test("RFC 9293, 3.8.6: no more is sent than the peer's window holds", () => {
  const peer = peerOf();
  peer.window = 2000;
  const sent = peer.send(get().repeat(100).slice(0, 1400)).concat(peer.send(get().repeat(100).slice(1400, 2800)));
  assertEquals(lengthsOf(sent).filter((length) => length > 0), [1460]);
});

Deno.test("RFC 9293, 3.8.6: the window of the newest segment counts, not that of one that came late", () => {
  const peer = peerOf();
  const before = peer.seq;
  peer.send("GET / HTTP/1.1\r\n", "A");
  peer.segment("A", { seq: before, window: 0, data: bytesOf("G") });
  assertEquals(text(peer.send("Host: lab\r\n\r\n")), HELLO);
});

Deno.test("RFC 9293, 3.10.7.4: the window counts of the segment that ends an idle time, also where it overlaps", () => {
  const peer = peerOf();
  peer.ask();
  peer.window = 0;
  const known = "x".repeat(20);
  const sent = peer.segment("PA", { seq: add(peer.seq, -known.length), data: bytesOf(known + get()) });
  assertEquals([flagsOf(sent), text(sent)], [["A"], ""]);
});

Deno.test("RFC 9293, 3.8.6.1: a closed window is probed by one byte, less and less often", () => {
  const peer = peerOf();
  peer.window = 0;
  assertEquals(text(peer.send(get())), "");
  const times = [];
  for (let ms = 0; ms < 16_000; ms += 10) {
    peer.host.advance(10);
    for (const { data } of peer.host.take()) {
      assertEquals(data.length, 1);
      times.push(Math.round(ms / 1000));
      peer.segment("A"); // it lives, and its window stays closed
    }
  }
  assertEquals(times, [1, 3, 7, 15]);
});

Deno.test("RFC 9293, 3.8.6.1: all bytes follow when the window opens, whether the probe's byte was taken or not", () => {
  for (const taken of [0, 1]) {
    const peer = peerOf();
    peer.window = 0;
    peer.send(get().repeat(3));
    peer.host.advance(1100);
    assertEquals(lengthsOf(peer.host.take()), [1]);
    peer.ack = add(peer.ack, taken);
    peer.window = 65_535;
    assertEquals(text(peer.segment("A")), HELLO.repeat(3).slice(taken));
  }
});

Deno.test("RFC 9293, 3.8.6: a window that is taken back keeps what is out, and all of it arrives later", () => {
  const peer = peerOf();
  const sent = peer.send(get().repeat(40));
  peer.window = 0;
  peer.segment("A");
  peer.host.advance(RTO_MS + 50);
  assertEquals(lengthsOf(peer.host.take()), [1]);
  peer.window = 65_535;
  assertEquals(text(peer.segment("A")).startsWith(text(sent).slice(0, 100)), true);
});

/** Lets so many seconds pass, in which a peer answers all probes, with or without the byte of each. Its window is closed. */
function holdShut(peer: Peer, seconds: number, takesByte: boolean): void {
  for (let s = 0; s < seconds; s++) {
    peer.host.advance(1000);
    for (const segment of peer.host.take()) peer.acknowledge(takesByte ? [segment] : []);
  }
}

Deno.test("RFC 9293, 3.8.6.1: a window may stay closed for less than 30 s, and for longer while bytes are taken", () => {
  for (const [seconds, takesByte] of [[28, false], [300, true]] as const) {
    const peer = peerOf();
    const answers = HELLO.repeat(20);
    const first = peer.ack;
    peer.window = 0;
    peer.send(get().repeat(20));
    holdShut(peer, seconds, takesByte);
    assertEquals([peer.host.tcp.open, peer.host.tcp.counts.errors], [1, {}]);
    const taken = peer.ack - first;
    assertEquals(taken > 10, takesByte);
    peer.window = 65_535;
    assertEquals(text(peer.segment("A")), answers.slice(taken));
  }
});

Deno.test("RFC 6429, 4: a peer that takes no byte for 30 s is given up, whether it acknowledges the probes or not", () => {
  for (const answers of [true, false]) {
    const peer = peerOf();
    peer.window = 0;
    peer.send(get());
    if (answers) holdShut(peer, 28, false);
    else peer.host.advance(28_000);
    assertEquals(peer.host.tcp.open, 1);
    peer.host.advance(3000);
    assertEquals([peer.host.tcp.open, peer.host.tcp.counts.errors], [0, { ETIMEDOUT: 1 }]);
    const last = peer.host.take().at(-1)!;
    assertEquals([last.flags, last.seq], ["AR", peer.ack]); // RFC 5961, 3.2: behind its closed window it would believe none
  }
});

Deno.test("RFC 1122, 4.2.3.4: no small segment leaves while others are out and a whole one would not fit", () => {
  const peer = peerOf();
  peer.window = 1500;
  const sent = peer.send(get().repeat(40)); // 2000 bytes of answers: 1460 fit, 40 more would
  assertEquals(lengthsOf(sent), [1460]);
  assertEquals(lengthsOf(peer.acknowledge(sent)), [540]);
});

Deno.test("RFC 1122, 4.2.3.3: the own window closes while answers wait, and opens in one large step", () => {
  const peer = peerOf();
  peer.window = 0;
  let last = peer.send(get());
  while (last.at(-1)!.window > 0) last = peer.send(get().repeat(40).slice(0, Math.min(1400, last.at(-1)!.window)));
  assertEquals(peer.host.tcp.counts.served, 1024);
  assertEquals(flagsOf(peer.segment("A", { data: bytesOf("x") })), ["A"]); // nothing more is taken
  peer.window = 65_535;
  let sent = peer.segment("A");
  let answers = "";
  for (let i = 0; i < 200 && sent.length > 0; i++) {
    answers += text(sent);
    sent = peer.acknowledge(sent);
  }
  assertEquals(answers.length % HELLO.length, 0);
  assertGreater(answers.length / HELLO.length, 1024);
  assertEquals(peer.host.tcp.busy <= 1, true);
});

Deno.test("RFC 9293, 3.8: answers of many windows arrive whole and in order", () => {
  const peer = peerOf();
  let sent = flood(peer, 1000);
  let answers = "";
  while (sent.length > 0) {
    answers += text(sent);
    sent = peer.acknowledge(sent);
  }
  assertEquals(answers, HELLO.repeat(1000));
});

// -- the end

Deno.test("RFC 9293, 3.6: a FIN is acknowledged and answered by one; with its ACK nothing is left", () => {
  const peer = peerOf();
  const sent = peer.send("", "FA");
  assertEquals([flagsOf(sent), sent[0]!.ack], [["AF"], peer.seq]);
  peer.acknowledge(sent);
  assertEquals([
    peer.host.tcp.open,
    peer.host.tcp.busy,
    peer.host.table.every((_, i) => peer.host.table[i & ~3 | 1] === 0),
  ], [
    0,
    0,
    true,
  ]);
});

Deno.test("RFC 9293, 3.6: what was asked before the FIN is answered before the own one", () => {
  const peer = peerOf();
  const sent = peer.send(get().repeat(2), "FA");
  assertEquals([text(sent), flagsOf(sent).at(-1)], [HELLO.repeat(2), "AFP"]);
});

Deno.test("RFC 9293, 3.6: after a half-close all answers arrive, also those of many windows, and then the FIN", () => {
  const peer = peerOf();
  peer.window = 3000;
  let sent = peer.send(get().repeat(40)).concat(peer.send(get().repeat(40)), peer.send(get().repeat(40), "FA"));
  let answers = "";
  while (sent.length > 0) {
    const fresh = sent.filter(({ data }) => data.length > 0);
    answers += text(fresh);
    if (sent.some(({ flags }) => flags.includes("F"))) break;
    sent = peer.acknowledge(fresh);
  }
  assertEquals([answers, flagsOf(sent).at(-1)], [HELLO.repeat(120), "AFP"]);
  peer.acknowledge(sent);
  assertEquals([peer.host.tcp.open, peer.host.tcp.busy], [0, 0]);
});

Deno.test("RFC 9293, 3.6: a FIN behind half a head ends the connection", () => {
  const peer = peerOf();
  peer.send("GET / HT");
  assertEquals(flagsOf(peer.send("", "FA")), ["AF"]);
});

Deno.test("RFC 9293, 3.6: a FIN behind a hole is not answered before the hole is filled", () => {
  const peer = peerOf();
  assertEquals(flagsOf(peer.segment("FA", { seq: add(peer.seq, get().length) })), ["A"]);
  assertEquals(flagsOf(peer.send(get(), "FA")), ["AFP"]);
});

Deno.test("RFC 9293, 3.6: Connection: close is answered with FIN, and TIME-WAIT stays as 16 bytes", () => {
  const peer = peerOf();
  const sent = peer.send(get("/", "Connection: close"));
  assertEquals(flagsOf(sent), ["AFP"]);
  peer.acknowledge(sent);
  assertEquals(flagsOf(peer.send("", "FA")), ["A"]);
  assertEquals([peer.host.tcp.open, peer.host.tcp.busy], [1, 0]);
});

Deno.test("RFC 9293, 3.6, figure 13: both close at the same time", () => {
  const peer = peerOf();
  const sent = peer.send(get("/", "Connection: close"));
  const before = peer.ack;
  assertEquals(flagsOf(peer.send("", "FA")), ["A"]); // it has not seen the FIN
  assertEquals(peer.ack, before);
  peer.acknowledge(sent);
  assertEquals([peer.host.tcp.open, peer.host.tcp.busy], [1, 0]); // TIME-WAIT
});

Deno.test("RFC 9293, 3.6: a FIN is sent again with the data before it until it is acknowledged", () => {
  const peer = peerOf();
  const sent = peer.send(get("/", "Connection: close"));
  peer.host.advance(RTO_MS + 50);
  assertEquals(peer.host.take(), sent);
  peer.ack = add(peer.ack, sent[0]!.data.length); // the data only
  peer.segment("A");
  peer.host.advance(4000);
  const [again] = peer.host.take();
  assertEquals([again!.flags.includes("F"), again!.seq, again!.data.length], [true, peer.ack, 0]);
});

Deno.test("RFC 9293, 3.6: a FIN that comes again is acknowledged again", () => {
  const peer = peerOf();
  peer.send("", "FA");
  const [answer] = peer.segment("FA", { seq: add(peer.seq, -1) });
  assertEquals(answer!.ack, peer.seq);
});

Deno.test("RFC 9112, 9.6: what comes behind the last request is acknowledged and thrown away for a second", () => {
  const peer = peerOf();
  const sent = peer.send(get("/", "Connection: close") + get());
  assertEquals(text(sent).split("HTTP/1.1 ").length - 1, 1);
  peer.acknowledge(sent);
  for (let i = 0; i < 5; i++) assertEquals(flagsOf(peer.send("x".repeat(1400))), ["A"]);
  assertEquals(peer.host.tcp.counts.served, 1);
});

Deno.test("RFC 1122, 4.2.2.13: data for a connection that nobody reads any more is refused", () => {
  const peer = peerOf();
  peer.acknowledge(peer.send(get("/", "Connection: close")));
  peer.host.advance(1100);
  assertEquals([peer.host.tcp.open, peer.host.tcp.busy], [1, 0]); // FIN-WAIT-2 in 16 bytes
  assertEquals(flagsOf(peer.send("more")), ["R"]);
  assertEquals(peer.host.tcp.open, 0);
});

Deno.test("RFC 9293, 3.6: a FIN that comes a minute late ends FIN-WAIT-2, and so does time", () => {
  const late = peerOf();
  late.acknowledge(late.send(get("/", "Connection: close")));
  late.host.advance(30_000);
  assertEquals(flagsOf(late.send("", "FA")), ["A"]);
  const silent = peerOf();
  silent.acknowledge(silent.send(get("/", "Connection: close")));
  silent.host.advance(90_000);
  assertEquals(silent.host.tcp.open, 0);
});

/** A peer whose connection is in TIME-WAIT. */
function waiting(): Peer {
  const peer = peerOf();
  peer.acknowledge(peer.send(get("/", "Connection: close")));
  peer.send("", "FA");
  return peer;
}

Deno.test("RFC 9293, 3.10.7.4: TIME-WAIT acknowledges a FIN again, and ends after 60 s", () => {
  const peer = waiting();
  assertEquals(flagsOf(peer.segment("FA", { seq: add(peer.seq, -1) })), ["A"]);
  peer.host.advance(50_000);
  assertEquals(peer.host.tcp.open, 1);
  peer.host.advance(40_000);
  assertEquals(peer.host.tcp.open, 0);
});

Deno.test("RFC 1337, 3: TIME-WAIT is not ended by a reset", () => {
  const peer = waiting();
  assertEquals(peer.segment("R"), []);
  assertEquals(peer.host.tcp.open, 1);
});

Deno.test("RFC 1122, 4.2.2.13: a SYN beyond the last number opens a new connection out of TIME-WAIT", () => {
  const { host, seq } = waiting();
  const peer = new Peer(host, CLIENT, add(seq, 10)).connect();
  assertEquals([peer.ask(), host.tcp.open], [HELLO, 1]);
});

Deno.test("RFC 9293, 3.10.7.4: an old SYN in TIME-WAIT is challenged", () => {
  const peer = waiting();
  assertEquals(flagsOf(peer.segment("S", { seq: add(peer.seq, -1000) })), ["A"]);
  assertEquals(peer.host.tcp.open, 1);
});

// -- silence

Deno.test("RFC 1122, 4.2.3.6: an idle peer is probed after a minute, and stays if it answers", () => {
  const peer = peerOf();
  peer.host.advance(59_000);
  assertEquals(peer.host.take(), []);
  for (let s = 0; s < 300; s++) {
    peer.host.advance(1000);
    for (const { seq, ack, data } of peer.host.take()) {
      assertEquals([seq, ack, data.length], [add(peer.ack, -1), peer.seq, 0]);
      peer.segment("A");
    }
  }
  const probes = peer.host.tcp.packets.keepalive_probes!;
  assert(probes >= 3 && probes <= 7, `${probes} probes in six minutes`);
  assertEquals(peer.ask(), HELLO);
});

Deno.test("RFC 1122, 4.2.3.6: a peer that does not answer six probes is forgotten", () => {
  const peer = peerOf();
  peer.host.advance(180_000);
  assertEquals(peer.host.take().length, 6);
  assertEquals([peer.host.tcp.open, peer.host.tcp.counts.errors], [0, { ETIMEDOUT: 1 }]);
});

Deno.test("RFC 1122, 4.2.3.6: probes of many idle peers are spread over time, and one that could not be sent does not count", () => {
  const host = hostOf({ slots: 4000 });
  for (let port = 1; port <= 3000; port++) new Peer(host, [CLIENT[0], port]).connect();
  host.hasFrames = false;
  host.advance(182_000); // in the pass in which the third probe is due
  assertEquals([host.tcp.open, host.tcp.packets.keepalive_probes], [3000, 0]);
  host.hasFrames = true;
  host.advance(100);
  const burst = host.take().length;
  assert(burst > 0 && burst <= 640, `${burst} probes in ten ticks`);
});

Deno.test("RFC 1122, 2.3.2.1: a peer whose hardware address was forgotten is not probed, and not given up", () => {
  const host = hostOf();
  const peers = [CLIENT[0], CLIENT[0] + 65_536].map((address) => new Peer(host, [address, 7]).connect());
  for (let s = 0; s < 300; s++) {
    host.advance(1000);
    for (const { to } of host.take()) {
      assertEquals(to[0], CLIENT[0] + 65_536);
      peers[1]!.segment("A");
    }
  }
  for (const peer of peers) assertEquals(peer.ask(), HELLO);
});

Deno.test("RFC 9112, 9.5: a connection without a request is closed after the idle timeout, if there is one", () => {
  const peer = peerOf({ idleS: 20 });
  peer.host.advance(15_000);
  assertEquals(peer.host.take(), []);
  peer.host.advance(25_000);
  assertEquals(peer.host.take()[0]!.flags, "AF");
});

Deno.test("RFC 9110, 15.5.9: a head that is not complete after ten seconds is answered by 408", () => {
  const peer = peerOf();
  for (let s = 0; s < 9; s++) {
    peer.send("a");
    peer.host.advance(1000);
    assertEquals(peer.host.take(), []);
  }
  peer.host.advance(1100);
  const [answer] = peer.host.take();
  assertEquals(text([answer!]).slice(0, 13), "HTTP/1.1 408 ");
  assertEquals(answer!.flags, "AFP");
});

// -- IPv4, ARP, ICMP

Deno.test("RFC 1122, 3.2.1.2: a wrong checksum of the IPv4 header is dropped and counted", () => {
  const host = hostOf();
  host.give(tcpFrame({ ...FIELDS, flags: "S" }, { ipChecksumError: 1 }));
  assertEquals([host.sent.length, host.tcp.packets.bad_checksum], [0, 1]);
});

Deno.test("RFC 1122, 3.2.1.8: options of IPv4 are skipped", () => {
  const host = hostOf();
  for (const words of [1, 5, 10]) {
    host.give(tcpFrame({ ...FIELDS, flags: "S" }, { ipOptions: new Uint8Array(words * 4).fill(1) }));
  }
  assertEquals(flagsOf(host.take()), ["SA", "SA", "SA"]);
});

Deno.test("RFC 791, 3.2: fragments are dropped and counted", () => {
  const host = hostOf();
  for (const fragment of [0x2000, 0x0001, 0x2005]) host.give(tcpFrame({ ...FIELDS, flags: "S" }, { fragment }));
  assertEquals([host.sent.length, host.tcp.packets.fragments], [0, 3]);
});

Deno.test("RFC 791, 3.1: lengths and versions that cannot be are dropped", () => {
  const host = hostOf();
  const oddities = [{ version: 6 }, { headerWords: 4 }, { headerWords: 0 }, { totalLength: 19 }, { totalLength: 41 }];
  for (const odd of oddities) host.give(tcpFrame({ ...FIELDS, flags: "S" }, odd));
  assertEquals([host.sent.length, host.tcp.packets.malformed], [0, 5]);
});

Deno.test("RFC 894: padding behind the packet is no part of it", () => {
  const host = hostOf();
  host.give(tcpFrame({ ...FIELDS, flags: "S" }, { padding: 6 }));
  assertEquals(flagsOf(host.take()), ["SA"]);
});

Deno.test("RFC 1122, 3.2.1.3: sources that cannot be are dropped: multicast, broadcast, this network, itself", () => {
  const host = hostOf();
  for (const address of [0xe000_0001, 0xffff_ffff, 0x0000_0001, SERVER_IP]) {
    host.give(tcpFrame({ from: [address, 5], to: SERVER, flags: "S" }));
  }
  assertEquals([host.sent.length, host.tcp.packets.unwanted], [0, 4]);
});

Deno.test("RFC 1122, 3.2.1.3: a packet for another address is dropped", () => {
  const host = hostOf();
  host.give(tcpFrame({ from: CLIENT, to: [SERVER_IP + 1, 8080], flags: "S" }));
  assertEquals([host.sent.length, host.tcp.packets.unwanted], [0, 1]);
});

Deno.test("RFC 894: frames that are too short for their headers are dropped, at each length", () => {
  const host = hostOf();
  const frame = tcpFrame({ ...FIELDS, flags: "S", options: mssOption(1460) });
  for (let length = 0; length < frame.length; length++) host.give(frame.subarray(0, length));
  assertEquals([host.sent.length, host.tcp.packets.received], [0, frame.length]);
});

const arpRequest = (target: number) => {
  const view = new DataView(new ArrayBuffer(28));
  [0x00010800, 0x06040001, 0x02000000, 0x00020a00, 0x00020000, 0x00000000].forEach((word, i) =>
    view.setUint32(4 * i, word)
  );
  view.setUint32(24, target);
  return ethernetFrame(0x0806, new Uint8Array(view.buffer));
};

Deno.test("RFC 826: a request for the own address is answered with the hardware address", () => {
  const [answer] = hostOf().give(arpRequest(SERVER_IP));
  assertEquals(answer!.slice(0, 22), Uint8Array.of(2, 0, 0, 0, 0, 2, ...SERVER_MAC, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2));
  assertEquals(answer!.slice(22), Uint8Array.of(...SERVER_MAC, 10, 0, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2));
});

Deno.test("RFC 826: a request for another address is not answered", () => {
  assertEquals(hostOf().give(arpRequest(SERVER_IP + 1)), []);
});

const echo = (data: number[], error = 0) => {
  const message = Uint8Array.of(8, 0, 0, 0, 0x12, 0x34, 0, 1, ...data);
  new DataView(message.buffer).setUint16(2, 0xffff - internetSum(message) + error);
  return ipFrame(CLIENT[0], SERVER_IP, message, { protocol: 1 });
};

Deno.test("RFC 792: an echo comes back with the same data, also of an odd length", () => {
  for (const data of [[], [1, 2, 3], Array.from({ length: 1400 }, (_, i) => i & 255)]) {
    const [answer] = hostOf().give(echo(data));
    const message = answer!.subarray(34);
    assertEquals([message[0], internetSum(message)], [0, 0xffff]);
    assertEquals([...message.subarray(8)], data);
    assertEquals(internetSum(answer!.subarray(14, 34)), 0xffff);
  }
});

Deno.test("RFC 792: an echo with a wrong checksum, and any other message, gets no answer", () => {
  const host = hostOf();
  host.give(echo([1], 1));
  host.give(ipFrame(CLIENT[0], SERVER_IP, Uint8Array.of(3, 4, 0xfc, 0xfb, 0, 0, 0, 0), { protocol: 1 }));
  host.give(ipFrame(CLIENT[0], SERVER_IP, Uint8Array.of(1, 2, 3, 4), { protocol: 17 }));
  assertEquals([host.sent.length, host.tcp.packets.bad_checksum, host.tcp.packets.unwanted], [0, 1, 2]);
});

Deno.test("RFC 826: a hardware address counts once it has come twice, so one that was damaged on the way does no harm", () => {
  const peer = peerOf();
  const { host, seq, ack } = peer;
  const frame = tcpFrame({ ...FIELDS, seq, ack, flags: "PA", data: bytesOf(get()) });
  const other = frame.slice();
  other[7]! ^= 4;
  assertEquals(host.give(other)[0]!.slice(0, 6), CLIENT_MAC); // an idle connection
  assertEquals(host.give(frame)[0]!.slice(0, 6), CLIENT_MAC);
  assertEquals(host.give(other)[0]!.slice(0, 6), other.slice(6, 12)); // a host that has moved
});

Deno.test("RFC 826: a connection that began with a damaged hardware address learns the right one", () => {
  const host = hostOf();
  const peer = new Peer(host);
  peer.ack = add(peer.segment("S")[0]!.seq, 1);
  peer.seq = add(peer.seq, 1);
  const { seq, ack } = peer;
  const last = tcpFrame({ ...FIELDS, seq, ack, flags: "A" });
  last[11]! ^= 1;
  host.give(last);
  const frame = tcpFrame({ ...FIELDS, seq, ack, flags: "PA", data: bytesOf(get()) });
  assertNotEquals(host.give(frame)[0]!.slice(0, 6), CLIENT_MAC);
  assertEquals(host.give(frame)[0]!.slice(0, 6), CLIENT_MAC); // the peer sends it again
  host.sent = [];
  host.advance(RTO_MS + 50);
  assertEquals(host.sent[0]!.slice(0, 6), CLIENT_MAC);
});

Deno.test("RFC 9293, 3.10.8: times of 32 bits wrap around, and after 25 and after 50 days timers work as before", () => {
  for (const days of [2 ** 31, 2 ** 32]) {
    const host = hostOf();
    host.tcp.nowMs = days - 500;
    host.tcp.tick();
    const peer = new Peer(host).connect();
    const [first] = peer.send(get());
    host.advance(RTO_MS - 50);
    assertEquals(host.take(), []);
    host.advance(100);
    assertEquals(host.take(), [first]);
    peer.acknowledge([first!]);
    peer.send("GET");
    host.advance(9_900);
    assertEquals(host.take(), []);
    host.advance(200);
    assertEquals(text(host.take()).slice(0, 13), "HTTP/1.1 408 ");
  }
});

Deno.test("RFC 9293, 3.3.2: what has ended and waits is not counted as open", () => {
  const { host } = waiting();
  assertEquals([host.tcp.open, host.tcp.leaving], [1, 1]);
  host.advance(90_000);
  assertEquals([host.tcp.open, host.tcp.leaving], [0, 0]);
});

// -- what is bounded

const peersOf = (host: Host, ports: number[]) => ports.map((port) => new Peer(host, [CLIENT[0], port]).connect());
const briefly = (segments: TcpSegment[]) =>
  segments.map(({ to, flags, data }) => [to[1], flags, new TextDecoder().decode(data.subarray(9, 12))]);

Deno.test("RFC 9110, 15.5.9: where no record is free, the half head that has waited longest gives way to a request", () => {
  const host = hostOf({ records: 3 });
  const peers = peersOf(host, [1, 2, 3, 4]);
  for (const peer of peers.slice(0, 3)) {
    peer.send("GET / HT");
    host.advance(100);
  }
  assertEquals(briefly(peers[3]!.send(get())), [[1, "AFP", "408"], [1, "AR", ""], [4, "AP", "200"]]);
  assertEquals([host.tcp.packets.evictions, host.tcp.counts.errors, host.tcp.open], [1, { 408: 1 }, 3]);
  for (const peer of peers.slice(1, 3)) assertEquals(text(peer.send("TP/1.1\r\n\r\n")), HELLO);
});

Deno.test("RFC 6429, 4: where no record is free, a connection whose window stays closed gives way to a request", () => {
  const host = hostOf({ records: 1 });
  const [closed, open] = peersOf(host, [1, 2]);
  closed!.window = 0;
  closed!.send(get());
  host.advance(1100);
  assertEquals(lengthsOf(host.take()), [1]); // it is probed
  assertEquals(briefly(open!.send(get())), [[1, "AR", ""], [2, "AP", "200"]]);
  assertEquals([host.tcp.packets.evictions, host.tcp.counts.errors, host.tcp.open], [1, { ENOBUFS: 1 }, 1]);
});

Deno.test("RFC 6429, 4: a peer that acknowledges nothing gives way before others, also if these have waited longer", () => {
  for (const window of [0, 65_535]) {
    const host = hostOf({ records: 3 });
    const [closed, half, gone, open] = peersOf(host, [1, 2, 3, 4]);
    closed!.window = 0;
    closed!.send(get());
    host.advance(100);
    half!.send("GET / HT");
    host.advance(100);
    gone!.window = window;
    gone!.send(get());
    for (let s = 0; s < 8; s++) {
      host.advance(1000);
      if (host.take().some(({ to }) => to[1] === 1)) closed!.segment("A"); // its window stays closed
    }
    assertEquals(briefly(open!.send(get())), [[3, "AR", ""], [4, "AP", "200"]], `window ${window}`);
    assertEquals([host.tcp.packets.evictions, host.tcp.counts.errors, host.tcp.open], [1, { ENOBUFS: 1 }, 3]);
  }
});

Deno.test("RFC 6429, 4: a peer that answers the third time is not one that acknowledges nothing", () => {
  const host = hostOf({ records: 2 });
  const [late, half, open] = peersOf(host, [1, 2, 3]);
  const sent = late!.send(get());
  half!.send("GET / HT");
  host.advance(7_100); // three retransmissions, after 1, 3 and 7 s
  assertEquals(host.take().length, 3);
  late!.segment("A"); // of nothing new: the answer is lost, and the peer is there
  assertEquals(briefly(open!.send(get())), [[2, "AFP", "408"], [2, "AR", ""], [3, "AP", "200"]]);
  assertEquals(late!.acknowledge(sent), []);
});

Deno.test("RFC 9293, 3.8.1: no record is left, so a request is dropped and counted, and served when it comes again", () => {
  const host = hostOf({ records: 2 });
  const peers = [1, 2, 3].map((port) => new Peer(host, [CLIENT[0], port]).connect());
  const answers = peers.slice(0, 2).map((peer) => peer.send(get()));
  assertEquals([peers[2]!.segment("PA", { data: bytesOf(get()) }), host.tcp.packets.records_full], [[], 1]);
  peers[0]!.acknowledge(answers[0]!);
  assertEquals(peers[2]!.ask(), HELLO);
});

Deno.test("RFC 9293, 3.10.7.4: holes take half of the records at most, so what is in order finds one", () => {
  const host = hostOf({ records: 4 });
  const peers = [1, 2, 3, 4, 5].map((port) => new Peer(host, [CLIENT[0], port]).connect(SACK_PERMITTED));
  const blocks = peers.slice(0, 4).map((peer) => blocksOf(peer, part(peer, get(), 5, 10)).length);
  assertEquals([blocks, host.tcp.busy], [[1, 1, 0, 0], 2]);
  for (const peer of peers) assertEquals(peer.ask(), HELLO);
});

Deno.test("RFC 9293, 3.3.1: entries that move up in the table, with a record and without, are found again", () => {
  const host = hostOf({ slots: 200, records: 100 });
  const peers = Array.from({ length: 160 }, (_, i) => new Peer(host, [CLIENT[0] + i, 1000 + i]).connect());
  const pending = peers.filter((_, i) => i % 3 === 0).map((peer) => ({ peer, sent: peer.send(get()) }));
  for (const [i, peer] of peers.entries()) if (i % 3 === 1) peer.segment("R");
  for (const { peer, sent } of pending) assertEquals([text(sent), peer.acknowledge(sent)], [HELLO, []]);
  for (const [i, peer] of peers.entries()) if (i % 3 !== 1) assertEquals(peer.ask(), HELLO, `${i}`);
  assertEquals([host.tcp.open, host.tcp.busy], [107, 0]);
});

Deno.test("RFC 9293, 3.3.1: a request is served where the end of a half head has moved its connection in the table", () => {
  const host = hostOf({ slots: 10, records: 1 });
  const peers = peersOf(host, [1, 2, 3, 4, 5, 6, 7, 8]);
  for (let i = 0; i < 100; i++) {
    const asking = peers[(i + 3) % 8]!;
    peers[i % 8]!.send("GET / HT");
    const sent = asking.send(get()).filter(({ to }) => to[1] === asking.from[1]);
    assertEquals([text(sent), host.tcp.packets.evictions], [HELLO, i + 1]);
    asking.acknowledge(sent);
    peers[i % 8] = new Peer(host, [CLIENT[0], 1000 + i]).connect();
  }
  assertEquals([host.tcp.open, host.tcp.busy], [8, 0]);
});

Deno.test("RFC 9112, 9.3.2: a request that burns CPU ends its connection's turn; what stands behind it is answered later, in order", () => {
  const peer = peerOf();
  const sent = peer.send(get("/work/700") + get("/x") + get("/work/5") + get());
  assertEquals(text(sent), "");
  assertEquals(peer.host.work(), 700);
  assertEquals(text(peer.host.take()).match(/HTTP\/1.1 \d+/g), ["HTTP/1.1 200", "HTTP/1.1 404"]);
  assertEquals(peer.host.work(), 5);
  assertEquals(text(peer.host.take()), HELLO + HELLO);
});

Deno.test("RFC 9293, 3.8: requests that burn CPU take turns, and between two turns others are answered", () => {
  const host = hostOf();
  const [first, second, third] = peersOf(host, [1, 2, 3]);
  first!.send(get("/work/100") + get("/work/200"));
  second!.send(get("/work/300"));
  const turn = () => {
    const record = host.tcp.nextWork();
    const us = host.tcp.workUs(record);
    host.tcp.worked(record);
    return us;
  };
  assertEquals([turn(), text(host.take())], [100, HELLO]);
  assertEquals(third!.ask(), HELLO);
  assertEquals([turn(), turn()], [300, 200]);
  assertEquals([host.tcp.hasWork, host.tcp.nextWork()], [false, -1]);
});

Deno.test("RFC 5961, 3.2: a record that a reset has freed waits once for CPU, as what it becomes", () => {
  const host = hostOf({ records: 1 });
  const [first, second] = peersOf(host, [1, 2]);
  first!.send(get("/work/700"));
  first!.segment("R");
  second!.send(get("/work/5"));
  assertEquals([host.work(), text(host.take())], [5, HELLO]);
});

Deno.test("RFC 5961, 3.2: a reset also ends a connection that waits for its CPU, and no CPU is burnt for it", () => {
  const peer = peerOf();
  peer.send(get("/work/700"));
  peer.segment("R");
  assertEquals([peer.host.work(), peer.host.tcp.open, peer.host.take()], [0, 0, []]);
});

Deno.test("RFC 9293, 3.10.7.1: after a stop a SYN is refused, and idle connections are closed", () => {
  const peer = peerOf();
  peer.host.tcp.stop();
  assertEquals(flagsOf(new Peer(peer.host, [CLIENT[0], 9]).segment("S")), ["AR"]);
  assertEquals(peer.host.tcp.closeIdle(10), true);
  const sent = peer.host.take();
  assertEquals(flagsOf(sent), ["AF"]);
  peer.acknowledge(sent);
  assertEquals(peer.host.tcp.busy, 0);
});

Deno.test("RFC 9293, 3.6: at a stop each idle connection gets a FIN, however few records there are", () => {
  const host = hostOf({ slots: 200, records: 4 });
  const peers = new Map(
    peersOf(host, Array.from({ length: 100 }, (_, i) => 1 + i)).map((peer) => [peer.from[1], peer]),
  );
  host.tcp.stop();
  for (let turn = 0; turn < 100 && !host.tcp.closeIdle(10); turn++) {
    for (const segment of host.take()) {
      const peer = peers.get(segment.to[1])!;
      assertEquals(segment.flags, "AF");
      peers.delete(segment.to[1]);
      assertEquals(peer.acknowledge([segment]), []);
    }
  }
  for (const { to } of host.take()) peers.delete(to[1]);
  assertEquals([peers.size, host.tcp.open - host.tcp.leaving], [0, host.tcp.busy]);
});

Deno.test("RFC 9293, 3.6: a connection that waits for the acknowledgement of its answer at a stop gets its FIN then", () => {
  const peer = peerOf();
  const answers = peer.send(get());
  peer.host.tcp.stop();
  assertEquals([peer.host.tcp.closeIdle(10), peer.host.take()], [true, []]);
  const sent = peer.acknowledge(answers);
  assertEquals(flagsOf(sent), ["AF"]);
  peer.acknowledge(sent);
  assertEquals(peer.host.tcp.busy, 0);
});

Deno.test("RFC 826: at a stop no FIN goes to a hardware address that belongs to another host", () => {
  const host = hostOf({ slots: 100 });
  const addresses = Array.from({ length: 60 }, (_, i) => CLIENT[0] + i * 65_536); // all are remembered at one place
  for (const address of addresses) new Peer(host, [address, 7]).connect();
  host.tcp.stop();
  assertEquals(host.tcp.closeIdle(100), true);
  assertEquals(host.take().map(({ to, flags }) => [to[0], flags]), [[addresses.at(-1), "AF"]]);
  assertEquals([host.tcp.open, host.tcp.busy], [1, 1]);
  assertEquals(host.tcp.counts.errors, { EHOSTUNREACH: addresses.length - 1 }); // they learn nothing of the end
});

Deno.test("RFC 826: an idle connection whose hardware address was forgotten ends without a FIN, which is counted", () => {
  const host = hostOf({ idleS: 20 });
  for (const address of [CLIENT[0], CLIENT[0] + 65_536]) new Peer(host, [address, 7]).connect();
  host.advance(40_000);
  assertEquals(host.take().map(({ to }) => to[0]).filter((ip) => ip === CLIENT[0]), []);
  assertEquals(host.tcp.counts.errors.EHOSTUNREACH, 1);
});

Deno.test("RFC 9112, 9.6: after a stop the last answer says that it is, and FIN stands behind it", () => {
  const peer = peerOf();
  peer.send(get().slice(0, 20));
  peer.host.tcp.stop();
  const sent = peer.send(get().slice(20));
  assertEquals([text(sent).includes("Connection: close"), flagsOf(sent)], [true, ["AFP"]]);
});

Deno.test("RFC 9293, 3.10.8: a table without an event for an hour is empty", () => {
  const { host } = waiting();
  host.advance(HOUR_MS);
  assertNotEquals(host.tcp.packets.sent, 0);
  assertEquals(host.tcp.open, 0);
});
