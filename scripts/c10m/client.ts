/**
 * The client of c10m as a process of its own, in the client's namespace: `deno run --allow-ffi client.ts '{"connections":…}'`.
 * Each line of its standard input is a command, `ask`, `close` or `end`; between two of them it answers what the server
 * sends, such as keepalive probes. Each line of its output is a {@linkcode Progress}.
 *
 * @module
 */
import {
  addressNumber,
  checksum,
  instruction,
  openXdp,
  readClockMs,
  Rings,
  swapBytes,
  useLibc,
} from "../../experiments/xdp.ts";
import { Crowd, type Phase } from "./crowd.ts";

/** What the client is to do. */
export interface ClientPlan {
  interface: string;
  connections: number;
  window: number;
  server: { address: string; port: number; mac: string };
  /** The first address of the crowd, and the one whose frames stay with the kernel. */
  firstAddress: string;
  kernelAddress: string;
}

/** What the client reports. */
export interface Progress {
  event: "ready" | "progress" | "over";
  mode: string;
  done: number;
  lost: number;
  answered: number;
  held: number | null;
  seconds: number;
  packets: Record<string, number>;
  losses: Record<string, number>;
}

const PROGRESS_MS = 1000;
const TICK_MS = 10;
const TURN_MS = 100; // between two looks at the commands: each is a sleep of a millisecond, and the server has nothing to do then
const SPINS = 200;
const XDP_PASS = 2;
const REQUEST = "GET / HTTP/1.1\r\nHost: c10m\r\n\r\n";
const ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World";

const bytesOf = (text: string) => new TextEncoder().encode(text);
const macOf = (text: string) => Uint8Array.from(text.split(":"), (byte) => parseInt(byte, 16));

/** The program of the client's end: IPv4 that is not for the kernel's address goes to the socket, all else to the kernel. */
function steering(kernelAddress: number, map: number): BigUint64Array<ArrayBuffer> {
  return BigUint64Array.from([
    instruction(0x61, 2, 1, 0, 0), //       r2 = ctx->data
    instruction(0x61, 3, 1, 4, 0), //       r3 = ctx->data_end
    instruction(0xbf, 4, 2, 0, 0), //       r4 = r2
    instruction(0x07, 4, 0, 0, 34), //      r4 += 34, the headers of Ethernet and IPv4
    instruction(0x2d, 4, 3, 10, 0), //      if r4 > r3 goto pass
    instruction(0x69, 5, 2, 12, 0), //      r5 = type of the frame, in network order
    instruction(0x55, 5, 0, 8, 0x0008), //  if r5 != IPv4 goto pass
    instruction(0x61, 5, 2, 30, 0), //      r5 = destination
    instruction(0x16, 5, 0, 6, swapBytes(kernelAddress)), // if w5 == the kernel's address goto pass
    instruction(0x61, 2, 1, 16, 0), //      r2 = ctx->rx_queue_index
    instruction(0x18, 1, 1, 0, map), //     r1 = map, of two instructions
    instruction(0x00, 0, 0, 0, 0),
    instruction(0xb7, 3, 0, 0, XDP_PASS), // r3 = what becomes of a frame from another queue
    instruction(0x85, 0, 0, 0, 51), //      call bpf_redirect_map
    instruction(0x95, 0, 0, 0, 0), //       exit
    instruction(0xb7, 0, 0, 0, XDP_PASS), // pass: r0 = XDP_PASS
    instruction(0x95, 0, 0, 0, 0), //       exit
  ]);
}

/** Opens the socket and makes the crowd. */
function prepare(plan: ClientPlan) {
  useLibc();
  const kernelAddress = addressNumber(plan.kernelAddress);
  const socket = openXdp(plan.interface, (map) => steering(kernelAddress, map), plan.interface);
  const rings = new Rings(socket);
  const crowd = new Crowd({
    ...{ memory: socket.memory, connections: plan.connections, window: plan.window, mac: socket.mac, checksum },
    server: { address: addressNumber(plan.server.address), port: plan.server.port, mac: macOf(plan.server.mac) },
    firstAddress: addressNumber(plan.firstAddress),
    secret: crypto.getRandomValues(new Int32Array(2)),
    request: bytesOf(REQUEST),
    answer: bytesOf(ANSWER),
    take: () => rings.take(),
    send: (frame, length) => rings.send(frame, length),
  });
  return { rings, crowd, mode: socket.mode };
}

/** Collects the commands that come on standard input. Its end is the command `end`. */
function readCommands(): string[] {
  const commands: string[] = [];
  (async () => {
    for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
      commands.push(...text.split("\n").filter((line) => line !== ""));
    }
    commands.push("end");
  })();
  return commands;
}

/** Runs until the command `end`. */
async function run(plan: ClientPlan): Promise<void> {
  const { rings, crowd, mode } = prepare(plan);
  const startMs = readClockMs() - 1;
  const commands = readCommands();
  const receive = (frame: number, length: number) => crowd.receive(frame, length);
  let [tickMs, turnMs, saidMs, begunMs, idleTurns] = [0, 0, 0, 0, 0];
  let isBusy = false;
  const say = (event: Progress["event"]) => {
    const { done, lost, answered, packets, losses } = crowd;
    const held = event === "over" ? crowd.held : null;
    const seconds = (crowd.nowMs - begunMs) / 1000;
    const progress: Progress = { event, mode, done, lost, answered, held, seconds, packets, losses };
    console.log(JSON.stringify(progress));
    saidMs = crowd.nowMs;
  };
  say("ready");
  for (;;) {
    crowd.nowMs = readClockMs() - startMs;
    const received = rings.receive(receive);
    rings.flush();
    idleTurns = received > 0 || rings.isBehind ? 0 : idleTurns + 1;
    if (crowd.nowMs - tickMs >= TICK_MS) {
      tickMs = crowd.nowMs;
      if (isBusy) crowd.tick();
      if (isBusy && crowd.isOver) {
        isBusy = false;
        say("over");
      } else if (isBusy && crowd.nowMs - saidMs >= PROGRESS_MS) say("progress");
    }
    if (idleTurns > SPINS) rings.wait(TICK_MS);
    if (crowd.nowMs - turnMs < TURN_MS) continue;
    turnMs = crowd.nowMs;
    await new Promise((resolve) => setTimeout(resolve, 0)); // commands are read meanwhile
    const command = commands.shift();
    if (command === "end") return;
    if (command === undefined) continue;
    begunMs = crowd.nowMs;
    isBusy = true;
    crowd.begin(command as Phase);
  }
}

if (import.meta.main) {
  await run(JSON.parse(Deno.args[0]!) as ClientPlan);
  Deno.exit(0);
}
