/** The crowd against the TCP of xdp, both in memory, over wires of several kinds. */
import { assert, assertEquals, assertLess } from "@std/assert";
import { checksum, Tcp } from "../../experiments/xdp.ts";
import { seededRandom } from "../../lib/timing/random.ts";
import { parseTcp } from "../../lib/testing/frames.ts";
import { Host, SERVER, SERVER_IP } from "../../lib/testing/tcp_host.ts";
import { Crowd } from "./crowd.ts";

const FRAME_BYTES = 2048;
const HEADROOM = 2;
const ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World";
const HOUR_MS = 3_600_000;
const bytesOf = (text: string) => new TextEncoder().encode(text);

/** A crowd and a server, with a wire between them that loses, repeats, delays and damages frames. */
class Meeting {
  readonly host: Host;
  readonly crowd: Crowd;
  readonly #memory = new Uint8Array(4 * FRAME_BYTES);
  readonly #random = seededRandom(7);
  #toServer: { frame: Uint8Array; atMs: number }[] = [];
  #toCrowd: { frame: Uint8Array; atMs: number }[] = [];

  constructor(connections: number, readonly loss: number, answer = ANSWER, slots = 2 * connections) {
    let next = 0;
    this.host = new Host((parts) => new Tcp(parts), { slots, records: 1024 });
    this.crowd = new Crowd({
      memory: this.#memory.buffer,
      connections,
      window: 64,
      server: { address: SERVER_IP, port: SERVER[1], mac: Uint8Array.of(2, 0, 0, 0, 0, 1) },
      mac: Uint8Array.of(2, 0, 0, 0, 0, 2),
      firstAddress: 0x0a010000,
      secret: Int32Array.of(5, 6),
      request: bytesOf("GET / HTTP/1.1\r\nHost: c10m\r\n\r\n"),
      answer: bytesOf(answer),
      checksum,
      take: () => (1 + next++ % 3) * FRAME_BYTES + HEADROOM,
      send: (frame, length) => this.#travel(this.#toServer, this.#memory.slice(frame, frame + length)),
    });
  }

  #travel(wire: { frame: Uint8Array; atMs: number }[], frame: Uint8Array): void {
    const random = this.#random;
    if (random() < this.loss) return;
    for (let copies = random() < this.loss ? 2 : 1; copies > 0; copies--) {
      const copy = frame.slice();
      if (random() < this.loss / 4) copy[Math.floor(random() * copy.length)]! ^= 1 << Math.floor(random() * 8);
      const delayMs = random() < 2 * this.loss ? Math.floor(random() * 30) : 0;
      wire.push({ frame: copy, atMs: this.crowd.nowMs + delayMs });
    }
  }

  /** Takes what has arrived. */
  #arrived(wire: { frame: Uint8Array; atMs: number }[]): Uint8Array[] {
    const late = wire.filter(({ atMs }) => atMs > this.crowd.nowMs);
    const due = wire.filter(({ atMs }) => atMs <= this.crowd.nowMs);
    wire.splice(0, wire.length, ...late);
    return due.map(({ frame }) => frame);
  }

  /** Gives a frame to the crowd. */
  deliver(frame: Uint8Array): void {
    this.#memory.set(frame, HEADROOM);
    this.crowd.receive(HEADROOM, frame.length);
  }

  /** One ms. */
  turn(): void {
    this.crowd.nowMs++;
    for (const frame of this.#arrived(this.#toServer)) this.host.give(frame);
    for (const frame of this.host.sent.splice(0)) this.#travel(this.#toCrowd, frame);
    for (const frame of this.#arrived(this.#toCrowd)) this.deliver(frame);
    if (this.crowd.nowMs % 10 === 0) this.crowd.tick();
    this.host.advance(1);
  }

  /** Has the crowd do something, until all have. */
  phase(phase: "ask" | "close"): void {
    this.crowd.begin(phase);
    const end = this.crowd.nowMs + HOUR_MS;
    while (!this.crowd.isOver && this.crowd.nowMs < end) this.turn();
  }
}

for (const loss of [0, 0.01, 0.1]) {
  Deno.test(`2 000 connections ask three times and close at ${loss * 100} % loss, and none is lost`, () => {
    const meeting = new Meeting(2000, loss);
    const { crowd, host } = meeting;
    for (let round = 1; round <= 3; round++) {
      meeting.phase("ask");
      assertEquals([crowd.lost, crowd.answered, crowd.held], [0, 2000 * round, 2000], JSON.stringify(crowd.losses));
    }
    assertEquals([host.tcp.open, host.tcp.counts.served], [2000, 6000]);
    if (loss === 0) { // a SYN for each, and for each request the request and the ACK of its answer: no ACK by itself before
      assertEquals([crowd.packets.retransmissions, crowd.packets.sent], [0, 2000 * (1 + 3 * 2)]);
    }
    meeting.phase("close");
    assertEquals([crowd.lost, crowd.done], [0, 2000], JSON.stringify(crowd.losses));
    for (let ms = 0; ms < 40_000 && host.tcp.busy > 0; ms++) meeting.turn();
    assertEquals(host.tcp.open, 0);
  });
}

Deno.test("connections that are held answer keepalive probes", () => {
  const meeting = new Meeting(50, 0);
  meeting.phase("ask");
  for (let ms = 0; ms < 300_000; ms++) meeting.turn();
  const { tcp } = meeting.host;
  assert(tcp.packets.keepalive_probes! >= 150, `${tcp.packets.keepalive_probes} probes`);
  assertEquals([tcp.open, tcp.counts.errors], [50, {}]);
});

Deno.test("an answer with another byte is seen, and costs its connection only", () => {
  const meeting = new Meeting(10, 0, ANSWER.replace("World", "world"));
  meeting.phase("ask");
  assertEquals([meeting.crowd.lost, meeting.crowd.losses], [10, { wrong_data: 10 }]);
});

Deno.test("what a full table does not take is lost when its cookie is too old, and the others are held", () => {
  const meeting = new Meeting(10, 0, ANSWER, 10);
  meeting.phase("ask");
  assertEquals([meeting.crowd.done, meeting.crowd.lost, meeting.crowd.losses], [8, 2, { ECONNRESET: 2 }]);
});

Deno.test("RFC 5961, 3.2: a reset ends a connection by its exact number only, and is challenged elsewhere", () => {
  const meeting = new Meeting(1, 0);
  meeting.phase("ask");
  for (let ms = 0; ms < 10; ms++) meeting.turn();
  const { tcp } = meeting.host;
  tcp.stop();
  tcp.closeIdle(10);
  const [frame] = meeting.host.sent.splice(0);
  const { seq } = parseTcp(frame!);
  const view = new DataView(frame!.buffer);
  // FIN becomes RST, and the checksum is corrected for it (RFC 1624).
  const reset = (offset: number) => {
    const copy = frame!.slice();
    const at = new DataView(copy.buffer);
    at.setUint8(47, 4);
    at.setUint32(38, seq + offset >>> 0);
    at.setUint16(50, 0);
    let sum = 6 + copy.length - 34;
    for (let i = 26; i < copy.length; i += 2) sum += at.getUint16(i);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    at.setUint16(50, ~sum & 0xffff);
    return copy;
  };
  assertLess(view.byteLength, 60);
  const sent = meeting.crowd.packets.sent;
  meeting.deliver(reset(5));
  assertEquals([meeting.crowd.lost, meeting.crowd.packets.sent - sent], [0, 1]);
  meeting.deliver(reset(0));
  assertEquals([meeting.crowd.lost, meeting.crowd.losses], [1, { ECONNRESET: 1 }]);
});
