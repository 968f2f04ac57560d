/** The headlines: their titles follow the figures. */
import { assertEquals, assertMatch } from "@std/assert";
import { call, compared, found, held, type Piece, probed, storedOf } from "../testing/fixtures.ts";
import { headlines } from "./headlines.ts";

const cpu = (of: string, to: string, ratio: number, more: Parameters<typeof compared>[3] = {}): Piece =>
  compared(["throughput", 100, "cpu_us_per_request"], [of, to], [ratio, ratio * 0.98, ratio * 1.02], more);
const waits = (ratio: number): Piece =>
  compared(["mixed", 100, "p99_us"], ["reactor-pool", "epoll"], [ratio, ratio * 0.98, ratio * 1.02]);
const pieces = (
  epoll: number,
  answered: number,
  each: number,
  ring: number,
  wait: number,
  language: number,
): Piece[] => [
  ...[["select", 10, 1], ["select", 10_000, 500], ["epoll_wait", 10, 1], ["epoll_wait", 10_000, epoll]].map((
    [name, descriptors, us],
  ) => call(name as "select" | "epoll_wait", Number(descriptors), Number(us))),
  held("epoll", answered, { pss_bytes: 2e7, threads: 6 }),
  held("c-threads", 10_000, { pss_bytes: 10_000 * each }),
  held("thread-per-conn", 1600, {}, 20_000),
  probed("thread-memory", "c-threads", "pss_bytes_per_thread", each),
  cpu("io-uring", "epoll", ring),
  waits(wait),
  cpu("epoll", "c-epoll", language),
];
const titles = (...all: Piece[]): string[] =>
  headlines(storedOf(...all)).map((line) => /^\*\*(.*)\.\*\* /.exec(line)?.[1] ?? "");

Deno.test("the title of each headline says what its figures say", () => {
  assertEquals(titles(...pieces(1, 10_000, 3e4, 0.9, 0.02, 1.04)).slice(0, -1), [
    "One loop holds ten thousand",
    "epoll's cost does not grow",
    "Threads are cheaper than their reputation",
    "io_uring is not twice as fast as epoll",
    "One heavy request makes a loop deaf",
    "TypeScript is about as cheap as C",
  ]);
  assertEquals(titles(...pieces(300, 900, 8e6, 0.5, 1.5, 2)).slice(0, -1), [
    "One loop held fewer than ten thousand",
    "epoll's cost grows",
    "Threads cost as much as their reputation says",
    "io_uring is twice as fast as epoll",
    "One heavy request does not make a loop deaf",
    "TypeScript costs more than C",
  ]);
});

Deno.test("where the figures do not decide the title names the subject alone", () => {
  const [, , , rings, heavy, language] = titles(...pieces(1, 10_000, 3e4, 0.71, 0.7, 1.3));
  assertEquals([rings, heavy, language], [
    "io_uring against epoll",
    "Heavy requests among light ones",
    "TypeScript against C",
  ]);
});

Deno.test("a headline says that the load generator was the limit, and which command measures what is missing", () => {
  const [, , , rings] = headlines(
    storedOf(cpu("io-uring", "epoll", 0.9, { findings: [found("epoll", "client_bound")] })),
  );
  assertMatch(rings!, /^\*\*io_uring against epoll\.\*\* .*; the load generator was the limit: not full load\.$/);
  assertMatch(headlines(storedOf()).at(-1)!, /^Not measured yet: `deno task sweep /);
});
