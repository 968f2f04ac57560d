/**
 * Many clients of one server that compare every byte of every answer. Requests are cut at random places and pipelined at
 * random depth. Run where the server can be reached: `deno run --allow-net exact_client.ts '{"host":"10.0.0.1",…}'`; the
 * last line of the output is an {@linkcode Exactness}.
 *
 * @module
 */
import { seededRandom } from "../timing/random.ts";

/** What to ask. */
export interface ExactPlan {
  host: string;
  port: number;
  clients: number;
  requests: number;
  seed: number;
  /** After so long what is not answered is missing. */
  timeoutMs: number;
}

/** What came of it. */
export interface Exactness {
  answered: number;
  missing: number;
  /** Clients that did not get all of their answers. */
  unserved: number;
  /** What went wrong, the first of each kind. */
  faults: string[];
  seconds: number;
}

const MAX_PIPELINED = 12;
const MAX_FAULTS = 10;
const HEAD = "Host: lab\r\nUser-Agent: exact\r\nAccept: */*\r\n\r\n";
const KINDS: [request: string, answer: string][] = [
  [`GET / HTTP/1.1\r\n${HEAD}`, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHello World"],
  [`GET /x HTTP/1.1\r\n${HEAD}`, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"],
  [`BREW / HTTP/1.1\r\n${HEAD}`, "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\n\r\n"],
];

/** Reads exactly so many bytes. */
async function readAll(connection: Deno.TcpConn, length: number): Promise<string> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const read = await connection.read(bytes.subarray(at));
    if (read === null) throw new Error(`closed after ${at} of ${length} bytes`);
    at += read;
  }
  return new TextDecoder("latin1").decode(bytes);
}

/** Writes a text in pieces. */
async function writePieces(connection: Deno.TcpConn, text: string, random: () => number): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + 1 + Math.floor(random() ** 3 * 3000));
    while (at < end) at += await connection.write(bytes.subarray(at, end));
    if (random() < 0.1) await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** One client. Returns how many of its requests were answered as they should be. */
async function ask(plan: ExactPlan, client: number, onAnswered: (count: number) => void): Promise<void> {
  const random = seededRandom(plan.seed * 100_003 + client);
  const { host: hostname, port } = plan;
  using connection = await Deno.connect({ hostname, port });
  connection.setNoDelay();
  for (let done = 0; done < plan.requests;) {
    const count = Math.min(plan.requests - done, 1 + Math.floor(random() * MAX_PIPELINED));
    const kinds = Array.from({ length: count }, () => KINDS[Math.floor(random() * KINDS.length)]!);
    const expected = kinds.map(([_, answer]) => answer).join("");
    const writing = writePieces(connection, kinds.map(([request]) => request).join(""), random);
    const [answers] = await Promise.all([readAll(connection, expected.length), writing]);
    if (answers !== expected) throw new Error(`other bytes: ${JSON.stringify(answers.slice(0, 200))}`);
    done += count;
    onAnswered(count);
  }
}

/** All clients at once. */
async function askAll(plan: ExactPlan): Promise<Exactness> {
  const start = performance.now();
  const faults = new Set<string>();
  let answered = 0;
  let served = 0;
  const clients = Array.from(
    { length: plan.clients },
    (_, client) =>
      ask(plan, client, (count) => answered += count).then(() => served++, (error) => {
        if (faults.size < MAX_FAULTS) faults.add(String(error));
      }),
  );
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, plan.timeoutMs);
  await Promise.race([Promise.all(clients), late]);
  clearTimeout(timer);
  const missing = plan.clients * plan.requests - answered;
  const unserved = plan.clients - served;
  return { answered, missing, unserved, faults: [...faults], seconds: (performance.now() - start) / 1000 };
}

if (import.meta.main) {
  console.log(JSON.stringify(await askAll(JSON.parse(Deno.args[0]!) as ExactPlan)));
  Deno.exit(0); // clients that wait for an answer would hold it up
}
