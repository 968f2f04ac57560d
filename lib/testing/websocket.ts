/**
 * A WebSocket client for tests of servers: it sends any bytes, right or wrong, in exactly the pieces in which they were
 * written, and shows the frames of the server one by one. A usual client hides all that.
 *
 * @example
 * ```ts
 * using client = await WebSocketClient.open(8080);
 * await client.send(maskedFrame(TEXT, "Hi"));
 * console.log(await client.frame()); // { opcode: 1, text: "Hi", … }
 * ```
 *
 * @module
 */
import { BrokenPromise, PATIENCE_MS, within } from "./client.ts";

/** Opcodes. */
export const CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10;
/** The key that RFC 6455 takes as its example, and the answer to it. */
export const KEY = "dGhlIHNhbXBsZSBub25jZQ==", ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const READ_BYTES = 64 * 1024;

/** The head of a handshake; fields of the same name take the place of the usual ones, and an empty value leaves one out. */
export function handshake(fields: Record<string, string> = {}, requestLine = "GET / HTTP/1.1"): string {
  const usual = { Host: "lab", Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13" };
  const all = Object.entries({ ...usual, "Sec-WebSocket-Key": KEY, ...fields }).filter(([_, value]) => value !== "");
  return [requestLine, ...all.map(([name, value]) => `${name}: ${value}`), "", ""].join("\r\n");
}

/** What of a frame is not as usual: whole, masked, no reserved bit, and its length in the shortest form. */
export interface FrameOptions {
  isFinal?: boolean;
  reserved?: number;
  mask?: readonly number[] | null;
  /** The bytes that the length takes behind the first: 0, 2 or 8. */
  lengthBytes?: 0 | 2 | 8;
  /** The length that the header names. */
  length?: bigint;
}

const utf8 = (text: string) => new TextEncoder().encode(text);
const lengthBytesOf = (length: number) => length < 126 ? 0 : length < 2 ** 16 ? 2 : 8;

/** A frame of a client. */
export function maskedFrame(
  opcode: number,
  payload: string | Uint8Array | readonly number[] = [],
  { isFinal = true, reserved = 0, mask = [0x37, 0xfa, 0x21, 0x3d], ...options }: FrameOptions = {},
): Uint8Array<ArrayBuffer> {
  const body = typeof payload === "string" ? utf8(payload) : Uint8Array.from(payload);
  const { lengthBytes = lengthBytesOf(body.length), length = BigInt(body.length) } = options;
  const head = new DataView(new ArrayBuffer(2 + lengthBytes));
  head.setUint8(0, (isFinal ? 0x80 : 0) | reserved << 4 | opcode);
  head.setUint8(1, (mask === null ? 0 : 0x80) | (lengthBytes === 0 ? Number(length) : lengthBytes === 2 ? 126 : 127));
  if (lengthBytes === 2) head.setUint16(2, Number(length));
  if (lengthBytes === 8) head.setBigUint64(2, length);
  const masked = mask === null ? body : body.map((byte, i) => byte ^ mask[i & 3]!);
  return Uint8Array.from([...new Uint8Array(head.buffer), ...mask ?? [], ...masked]);
}

/** The payload of a Close frame. */
export const closing = (code: number, reason = ""): number[] => [code >> 8, code & 255, ...utf8(reason)];

/** A frame of the server. */
export interface ServerFrame {
  opcode: number;
  isFinal: boolean;
  payload: Uint8Array;
  /** The payload as text. */
  text: string;
  /** The code of a Close frame; 0: there is none in it, or it is another frame. */
  code: number;
}

/** What ended a connection: the end of what is sent, or a reset. */
export type End = "end" | "reset";

/** One connection. It is not meant for two that read, or two that write, at a time. */
export class WebSocketClient implements Disposable {
  readonly #connection: Deno.TcpConn;
  readonly #patienceMs: number;
  readonly #buffer = new Uint8Array(READ_BYTES);
  #bytes = new Uint8Array(0);
  #end: End | null = null;
  #isClosed = false;

  private constructor(connection: Deno.TcpConn, patienceMs: number) {
    this.#connection = connection;
    this.#patienceMs = patienceMs;
    connection.setNoDelay();
  }

  /** Connects to a port of 127.0.0.1, without a handshake. */
  static async connect(port: number, patienceMs: number = PATIENCE_MS): Promise<WebSocketClient> {
    try {
      return new WebSocketClient(await Deno.connect({ hostname: "127.0.0.1", port }), patienceMs);
    } catch (error) {
      throw new BrokenPromise(`Cannot connect to port ${port}: ${error}`);
    }
  }

  /**
   * Connects and shakes hands.
   *
   * @throws {BrokenPromise} If the server refuses.
   */
  static async open(port: number, patienceMs: number = PATIENCE_MS): Promise<WebSocketClient> {
    const client = await WebSocketClient.connect(port, patienceMs);
    try {
      await client.send(handshake());
      await client.switched();
      return client;
    } catch (error) {
      client[Symbol.dispose]();
      throw error;
    }
  }

  /** The port at this end. */
  get port(): number {
    return (this.#connection.localAddr as Deno.NetAddr).port;
  }

  /**
   * Writes all of `data`, or of several pieces as one.
   *
   * @throws {BrokenPromise} If the connection breaks.
   */
  async send(...data: (string | Uint8Array)[]): Promise<void> {
    let rest = Uint8Array.from(data.flatMap((piece) => [...typeof piece === "string" ? utf8(piece) : piece]));
    try {
      while (rest.length > 0) rest = rest.subarray(await this.#connection.write(rest));
    } catch (error) {
      throw new BrokenPromise(`The connection broke while frames were sent: ${error}`);
    }
  }

  /** Closes the half that sends. */
  async finish(): Promise<void> {
    await this.#connection.closeWrite();
  }

  /** Takes the head of an answer. */
  async answer(): Promise<{ status: number; fields: Map<string, string> }> {
    for (;;) {
      const text = new TextDecoder("latin1").decode(this.#bytes), blank = text.indexOf("\r\n\r\n");
      if (blank < 0) {
        if (!await this.#receive("an answer")) throw new BrokenPromise(`It ended (${this.#end}) without an answer.`);
        continue;
      }
      const [line, ...lines] = text.slice(0, blank).split("\r\n");
      const fields = new Map(lines.map((field) => {
        const colon = field.indexOf(":");
        return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()] as const;
      }));
      this.#bytes = this.#bytes.slice(blank + 4);
      return { status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(line!)?.[1]), fields };
    }
  }

  /** Takes the answer to a handshake, which must be right. */
  async switched(): Promise<void> {
    const { status, fields } = await this.answer();
    if (status === 101 && fields.get("sec-websocket-accept") === ACCEPT) return;
    throw new BrokenPromise(`The answer to a handshake was ${status}, ${[...fields].join("; ")}`);
  }

  /**
   * Takes the next frame.
   *
   * @throws {BrokenPromise} If none comes in time, it is masked, or the connection ends.
   */
  async frame(): Promise<ServerFrame> {
    for (;;) {
      const frame = this.#take();
      if (frame !== null) return frame;
      if (!await this.#receive("a frame")) throw new BrokenPromise(`It ended (${this.#end}) without a frame.`);
    }
  }

  /** Takes a message, which must be whole in one frame. */
  async text(): Promise<string> {
    const { opcode, isFinal, text, code } = await this.frame();
    if (opcode === TEXT && isFinal) return text;
    throw new BrokenPromise(`No message came but a frame of opcode ${opcode}, code ${code}.`);
  }

  /** Takes frames up to a Close, then the end. Returns all of them. */
  async rest(): Promise<{ frames: ServerFrame[]; end: End }> {
    const frames: ServerFrame[] = [];
    for (;;) {
      const frame = this.#take();
      if (frame !== null) frames.push(frame);
      else if (!await this.#receive("the end of the connection")) return { frames, end: this.#end! };
    }
  }

  /**
   * Waits for a Close, answers it as clients do, and waits for the end of the connection. Nothing else may come.
   *
   * @returns The code.
   */
  async closed(): Promise<number> {
    const { opcode, code } = await this.frame();
    if (opcode !== CLOSE) throw new BrokenPromise(`In place of a Close a frame of opcode ${opcode} came.`);
    await this.answerClose(code);
    const { frames } = await this.rest();
    if (frames.length > 0) throw new BrokenPromise(`${frames.length} frames came behind a Close.`);
    return code;
  }

  /** Sends a Close, which a server that has sent one waits for, if it has not closed already. */
  async answerClose(code: number): Promise<void> {
    try {
      await this.send(maskedFrame(CLOSE, code === 0 ? [] : closing(code)));
    } catch (error) {
      if (!(error instanceof BrokenPromise)) throw error;
    }
  }

  /** Reads once; false at the end. */
  async #receive(awaited: string): Promise<boolean> {
    let got: number | null;
    try {
      got = await within(this.#connection.read(this.#buffer), this.#patienceMs, awaited);
    } catch (error) {
      if (error instanceof BrokenPromise) throw error;
      this.#end = "reset";
      return false;
    }
    if (got === null) {
      this.#end = "end";
      return false;
    }
    const grown = new Uint8Array(this.#bytes.length + got);
    grown.set(this.#bytes);
    grown.set(this.#buffer.subarray(0, got), this.#bytes.length);
    this.#bytes = grown;
    return true;
  }

  /** Takes a frame out of what was received; null as long as it is not whole. */
  #take(): ServerFrame | null {
    const bytes = this.#bytes, view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (bytes.length < 2) return null;
    const short = bytes[1]! & 127, header = 2 + (short === 126 ? 2 : short === 127 ? 8 : 0);
    if ((bytes[1]! & 128) !== 0) throw new BrokenPromise("A frame of the server is masked.");
    if (bytes.length < header) return null;
    const length = short === 126 ? view.getUint16(2) : short === 127 ? Number(view.getBigUint64(2)) : short;
    if (bytes.length < header + length) return null;
    const payload = bytes.slice(header, header + length), opcode = bytes[0]! & 15;
    this.#bytes = bytes.subarray(header + length);
    const code = opcode === CLOSE && length >= 2 ? payload[0]! << 8 | payload[1]! : 0;
    return { opcode, isFinal: bytes[0]! >= 128, payload, text: new TextDecoder().decode(payload), code };
  }

  /** Closes both halves; the kernel resets the connection if something that came was not read. */
  [Symbol.dispose](): void {
    if (!this.#isClosed) this.#connection.close();
    this.#isClosed = true;
  }
}

/** What a server must answer: messages to this client and all others, pongs, and the code of a Close. */
export interface Expected {
  opcode: number;
  payload: Uint8Array;
}

/** A frame as a fuzzer makes it. */
export interface Fuzzed extends FrameOptions {
  opcode: number;
  payload: Uint8Array;
}

const isCode = (code: number) =>
  (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) ||
  (code >= 3000 && code <= 4999);
const close = (code: number): Expected => ({ opcode: CLOSE, payload: Uint8Array.of(code >> 8, code & 255) });

/** Whether bytes are the start of a text in UTF-8. A decoder that is asked for no end says so. */
function isUtf8(bytes: Uint8Array, isWhole: boolean): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes, { stream: !isWhole });
    return true;
  } catch (error) {
    if (error instanceof TypeError) return false;
    throw error;
  }
}

/** What a frame violates by itself: the code of the answer; 0: nothing. */
function violation({ opcode, payload, isFinal = true, reserved = 0, mask, lengthBytes }: Fuzzed): number {
  const isControl = opcode >= CLOSE;
  if (reserved !== 0 || mask === null || opcode > PONG || (opcode > BINARY && opcode < CLOSE)) return 1002;
  if (isControl && (!isFinal || payload.length > 125 || (lengthBytes ?? 0) > 0)) return 1002;
  return (lengthBytes ?? lengthBytesOf(payload.length)) === lengthBytesOf(payload.length) ? 0 : 1002;
}

function answerToClose(payload: Uint8Array): Expected {
  if (payload.length === 0) return { opcode: CLOSE, payload };
  if (payload.length === 1 || !isCode(payload[0]! << 8 | payload[1]!)) return close(1002);
  return isUtf8(payload.subarray(2), true) ? { opcode: CLOSE, payload: payload.slice(0, 2) } : close(1007);
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}

/**
 * What a server must send to a client that sends these frames, by another way than servers go: nothing is taken piece by
 * piece here. It ends with the first Close.
 */
export function expectedFrames(frames: readonly Fuzzed[], maxMessage: number): Expected[] {
  const expected: Expected[] = [];
  let message: Uint8Array | null = null;
  for (const frame of frames) {
    const { opcode, payload, isFinal = true } = frame;
    const code = violation(frame);
    if (code !== 0) return [...expected, close(code)];
    if (opcode === PING) expected.push({ opcode: PONG, payload });
    if (opcode === CLOSE) return [...expected, answerToClose(payload)];
    if (opcode >= CLOSE) continue;
    if ((opcode === CONTINUATION) !== (message !== null)) return [...expected, close(1002)];
    if (opcode === BINARY) return [...expected, close(1003)];
    message = joined(message ?? new Uint8Array(0), payload);
    if (message.length > maxMessage) return [...expected, close(1009)];
    if (!isUtf8(message, isFinal)) return [...expected, close(1007)];
    if (!isFinal) continue;
    expected.push({ opcode: TEXT, payload: message });
    message = null;
  }
  return expected;
}
