/**
 * What must hold for the TCP of xdp whatever comes: random segments, and a wire that loses, repeats, reorders and damages
 * them. `deno test … -- --thorough` runs 100 000 cases in place of 2 000, `--cases=N` so many; `--seed=N` repeats a run.
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Oddities, parseTcp, tcpFrame, type TcpSegment } from "../lib/testing/frames.ts";
import { bytesOf, CLIENT, get, Host, Peer, SERVER } from "../lib/testing/tcp_host.ts";
import { seededRandom } from "../lib/timing/random.ts";
import { Tcp } from "./xdp.ts";

const HELLO = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World";
/** The number behind `--name=`; undefined if it is not among the arguments. */
function flag(name: string): number | undefined {
  const prefix = `--${name}=`;
  const argument = Deno.args.find((arg) => arg.startsWith(prefix));
  if (argument === undefined) return undefined;
  const value = Number(argument.slice(prefix.length));
  assert(Number.isSafeInteger(value), `${argument} is no number`);
  return value;
}
const CASES = flag("cases") ?? (Deno.args.includes("--thorough") ? 100_000 : 2_000);
const WIRES = Math.ceil(CASES / 4); // an exchange is some hundreds of segments
const SEED = flag("seed") ?? crypto.getRandomValues(new Int32Array(1))[0]!;
const TURNS = 200_000; // of one exchange, until it is taken for stuck

console.log(`seed ${SEED}, ${CASES} cases`);

const hostOf = () => new Host((parts) => new Tcp(parts), { slots: 32, records: 4 });

/** What a hostile peer does next. Numbers are given as distances, because random ones would almost never be near. */
const step = fc.record({
  flags: fc.subarray(["S", "A", "F", "R", "P", "U"]).map((letters) => letters.join("")),
  seq: fc.oneof(fc.integer({ min: -3, max: 3 }), fc.integer({ min: -70_000, max: 70_000 }), fc.integer()),
  ack: fc.oneof(fc.integer({ min: -3, max: 3 }), fc.integer({ min: -70_000, max: 70_000 }), fc.integer()),
  window: fc.oneof(fc.constantFrom(0, 1, 65_535), fc.integer({ min: 0, max: 65_535 })),
  options: fc.oneof(
    fc.constant(new Uint8Array(0)),
    fc.integer({ min: 1, max: 10 }).chain((words) => fc.uint8Array({ minLength: words * 4, maxLength: words * 4 })),
  ),
  data: fc.oneof(
    fc.constant(new Uint8Array(0)),
    fc.constantFrom(
      get(),
      get().repeat(20),
      "GET / HT",
      "TP/1.1\r\n\r\n",
      get("/work/9") + get(),
      get("/", "Connection: close"),
    )
      .map(bytesOf),
    fc.uint8Array({ maxLength: 1400 }),
  ),
  odd: fc.oneof(
    { weight: 6, arbitrary: fc.constant<Oddities>({}) },
    { weight: 1, arbitrary: fc.record<Oddities>({ dataOffset: fc.integer({ min: 0, max: 15 }) }) },
    { weight: 1, arbitrary: fc.record<Oddities>({ totalLength: fc.integer({ min: 0, max: 2000 }) }) },
    { weight: 1, arbitrary: fc.record<Oddities>({ headerWords: fc.integer({ min: 0, max: 15 }) }) },
    { weight: 1, arbitrary: fc.record<Oddities>({ padding: fc.integer({ min: 0, max: 40 }) }) },
  ),
  port: fc.constantFrom(CLIENT[1], CLIENT[1], CLIENT[1], 7, 8, 9, 0),
  pauseMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 3000 })),
});

/** Everything that was sent is a sound frame of this host. */
function checkSent(host: Host): TcpSegment[] {
  const segments = host.take();
  for (const { from, data } of segments) {
    assertEquals(from[0], SERVER[0]);
    assert(data.length <= 1460);
  }
  return segments;
}

Deno.test("random segments do no harm: all answers are sound, and another connection is served as before", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const host = hostOf();
      const victim = new Peer(host, [CLIENT[0] + 9, 1234]).connect();
      assertEquals(victim.ask(), HELLO);
      const peer = new Peer(host).connect();
      for (const { flags, seq, ack, window, options, data, odd, port, pauseMs } of steps) {
        const numbers = { seq: peer.seq + seq >>> 0, ack: peer.ack + ack >>> 0 };
        host.give(tcpFrame({ from: [CLIENT[0], port], to: SERVER, ...numbers, flags, window, options, data }, odd));
        for (const sent of checkSent(host)) {
          if (sent.to[1] === CLIENT[1]) peer.ack = sent.seq + sent.data.length >>> 0; // stays near what is right
          if (sent.to[1] === CLIENT[1] && sent.flags.includes("A")) peer.seq = sent.ack;
        }
        host.advance(pauseMs);
        host.work();
        checkSent(host);
      }
      assertEquals(victim.ask(), HELLO);
      host.advance(400_000, 100); // all that is left of the others ends by itself
      for (const sent of checkSent(host)) if (sent.to[1] === 1234) victim.acknowledge([]);
      assertEquals(host.tcp.busy, 0);
    }),
    { numRuns: CASES, seed: SEED },
  );
});

Deno.test("random bytes in a frame do no harm", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), fc.boolean(), (bytes, isIp) => {
      const host = hostOf();
      const victim = new Peer(host).connect();
      if (isIp && bytes.length >= 34) bytes.set([8, 0, 0x45], 12);
      host.give(bytes);
      host.sent = [];
      assertEquals(victim.ask(), HELLO);
    }),
    { numRuns: CASES, seed: SEED },
  );
});

/** A frame on its way: it arrives in so many ms. */
interface Travelling {
  frame: Uint8Array;
  atMs: number;
}

/**
 * A client over a wire that is as bad as can be: it sends its requests in pieces, sends again what is not acknowledged, and
 * takes data in order only. It is no good TCP, but a right one.
 */
class BadExchange {
  readonly host = hostOf();
  readonly random: () => number;
  answers = "";
  isOpen = false;
  isReset = false;
  #toServer: Travelling[] = [];
  #toClient: Travelling[] = [];
  #next = 0; // bytes of the requests that are acknowledged
  #isn: number;
  #peerNext = 0;
  #sentMs = -Infinity;
  #sentTo = 0;

  constructor(readonly requests: Uint8Array, readonly loss: number, seed: number) {
    this.random = seededRandom(seed);
    this.#isn = Math.floor(this.random() * 2 ** 32);
  }

  /** Puts a frame on the wire: lost, damaged, doubled, late or neither. */
  #travel(wire: Travelling[], frame: Uint8Array): void {
    const copies = this.random() < this.loss ? 0 : this.random() < 0.05 ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      const copy = frame.slice();
      if (this.random() < this.loss / 10) {
        copy[Math.floor(this.random() * copy.length)]! ^= 1 << Math.floor(this.random() * 8);
      }
      wire.push({
        frame: copy,
        atMs: this.host.tcp.nowMs + (this.random() < 0.25 ? Math.floor(this.random() * 60) : 1),
      });
    }
  }

  #send(flags: string, at: number, data: Uint8Array = new Uint8Array(0)): void {
    const seq = this.#isn + at >>> 0;
    const window = this.random() < 0.1 ? Math.floor(this.random() * 3000) : 65_535;
    const options = flags === "S" ? Uint8Array.of(2, 4, 2, 24, 4, 2, 1, 1) : new Uint8Array(0);
    this.#sentTo = Math.max(this.#sentTo, at + data.length);
    this.#travel(
      this.#toServer,
      tcpFrame({ from: CLIENT, to: SERVER, seq, ack: this.#peerNext, window, flags, data, options }),
    );
  }

  /** Sends what is not acknowledged, in pieces; and again after a while. */
  #transmit(): void {
    if (this.host.tcp.nowMs - this.#sentMs < 250) return;
    this.#sentMs = this.host.tcp.nowMs;
    if (!this.isOpen) return this.#send("S", 0);
    const end = Math.min(this.requests.length, this.#next + 2000);
    for (let at = this.#next; at < end;) {
      const piece = this.requests.subarray(at, Math.min(end, at + 1 + Math.floor(this.random() ** 2 * 536)));
      this.#send("PA", 1 + at, piece);
      at += piece.length;
    }
    this.#send("A", 1 + this.#next);
  }

  /** RFC 2018: a block is behind what is acknowledged, and nothing in it was never sent. */
  #checkSack(ack: number, options: Uint8Array): void {
    const view = new DataView(options.buffer, options.byteOffset);
    assert(options.length > 4 && options.length <= 36 && options[2] === 5 && options[3] === options.length - 2);
    for (let at = 4; at < options.length; at += 8) {
      const [from, to] = [view.getUint32(at), view.getUint32(at + 4)];
      assert(
        (from - ack | 0) > 0 && (to - from | 0) > 0 && (to - this.#isn | 0) <= this.#sentTo,
        `${[from - ack, to - from, to - this.#isn | 0, this.#sentTo]}`,
      );
    }
  }

  #onSegment({ flags, seq, ack, data, options }: TcpSegment): void {
    if (!flags.includes("S") && options.length > 0) this.#checkSack(ack, options);
    if (flags.includes("R")) this.isReset = true;
    if (flags === "SA" && !this.isOpen) {
      this.isOpen = true;
      this.#peerNext = seq + 1 >>> 0;
      this.#sentMs = -Infinity;
      this.#send("A", 1);
      return;
    }
    if (!this.isOpen || !flags.includes("A") || flags.includes("S")) return;
    const acknowledged = (ack - this.#isn | 0) - 1;
    if (acknowledged > this.#next) {
      this.#next = acknowledged;
      this.#sentMs = -Infinity;
    }
    if (data.length === 0) return;
    const offset = seq - this.#peerNext | 0;
    if (offset <= 0 && offset + data.length > 0) {
      this.answers += new TextDecoder().decode(data.subarray(-offset));
      this.#peerNext = this.#peerNext + data.length + offset >>> 0;
    }
    this.#send("A", 1 + this.#next);
  }

  #arrivals(wire: Travelling[]): Uint8Array[] {
    const due = wire.filter(({ atMs }) => atMs <= this.host.tcp.nowMs);
    for (const frame of due) wire.splice(wire.indexOf(frame), 1);
    return due.map(({ frame }) => frame);
  }

  /** One ms. */
  turn(): void {
    this.#transmit();
    for (const frame of this.#arrivals(this.#toServer)) this.host.give(frame);
    for (const frame of this.host.sent.splice(0)) this.#travel(this.#toClient, frame);
    for (const frame of this.#arrivals(this.#toClient)) {
      const segment = soundOrNothing(frame);
      if (segment !== null && segment.to[1] === CLIENT[1]) this.#onSegment(segment);
    }
    this.host.advance(1);
  }
}

/** A segment, or null where the wire has damaged it. */
function soundOrNothing(frame: Uint8Array): TcpSegment | null {
  try {
    return parseTcp(frame);
  } catch {
    return null; // as a kernel drops it
  }
}

Deno.test("over a wire that loses, repeats, reorders and damages frames every answer arrives, byte for byte", () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.constantFrom(0, 0.01, 0.1, 0.3),
      fc.integer({ min: 1, max: 120 }),
      (seed, loss, count) => {
        const random = seededRandom(seed);
        const kinds = Array.from({ length: count }, () => random() < 0.2 ? "/missing" : "/");
        const exchange = new BadExchange(bytesOf(kinds.map((target) => get(target)).join("")), loss, seed);
        const expected = kinds.map((kind) =>
          kind === "/" ? HELLO : "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        ).join("");
        for (
          let turn = 0;
          turn < TURNS && exchange.answers.length < expected.length && !exchange.isReset;
          turn++
        ) exchange.turn();
        const { errors } = exchange.host.tcp.counts;
        if (errors.ETIMEDOUT === undefined) {
          return assertEquals([exchange.isReset, exchange.answers], [false, expected]);
        }
        // Of 30 % loss each way, five in a row take 31 s: then the connection is given up, and what had arrived is right.
        assertEquals([loss >= 0.1, expected.startsWith(exchange.answers)], [true, true]);
      },
    ),
    { numRuns: WIRES, seed: SEED },
  );
});
