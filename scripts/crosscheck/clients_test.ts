import { assertEquals, assertThrows } from "@std/assert";
import { against, ClientFailed, readOther } from "./clients.ts";
import type { CrosscheckRow } from "../../lib/results/rows.ts";

const WRK = `Running 4s test @ http://127.0.0.1:1/
  1 threads and 100 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.41ms    0.86ms  20.35ms   90.12%
    Req/Sec    72.10k     4.11k   80.01k    71.43%
  Latency Distribution
     50%    1.25ms
     99%  950.00us
  286000 requests in 4.00s, 13.91MB read
Requests/sec:  71500.25
Transfer/sec:      3.48MB
`;
const H2LOAD = `starting benchmark...
finished in 4.00s, 25852.00 req/s, 1.23MB/s
requests: 51704 total, 51804 started, 51704 done, 51704 succeeded, 0 failed, 0 errored, 0 timeout
                     min         max         mean         sd        +/- sd
time for request:       78us     39.31ms      3.86ms      4.03ms    85.35%
`;

Deno.test("what wrk prints is read, with its units and the CPU time of its children", () => {
  assertEquals(readOther("wrk", WRK, 61.86e6), {
    client: "wrk",
    requests_per_s: 71500.25,
    client_cpu_us_per_request: 61.86e6 / 286000,
    mean_us: 1410,
    p99_us: 950,
    answered: 286000,
  });
});

Deno.test("what h2load prints is read: answers that succeeded, the mean, and no percentile", () => {
  assertEquals(readOther("h2load", H2LOAD, 0.517e6), {
    client: "h2load",
    requests_per_s: 25852,
    client_cpu_us_per_request: 0.517e6 / 51704,
    mean_us: 3860,
    p99_us: null,
    answered: 51704,
  });
});

Deno.test("output without a figure is an error that shows it", () => {
  assertThrows(() => readOther("wrk", WRK.replace("Requests/sec", "Fetches/sec"), 1), ClientFailed, "Fetches/sec");
});

Deno.test("the columns of h2load are found by their heading: newer versions have a median before the mean, and a p99", () => {
  const newer = H2LOAD.replace(/^ +min .*$/m, "      min   max   median   p95   p99   mean   sd   +/- sd")
    .replace(
      /^time for request:.*$/m,
      "time for request:  78us  39.31ms  777us  2.10ms  5.25ms  3.86ms  4.03ms  85.35%",
    );
  const { mean_us, p99_us } = readOther("h2load", newer, 1);
  assertEquals([mean_us, p99_us], [3860, 5250]);
  const without = newer.replace("mean", "average");
  assertThrows(() => readOther("h2load", without, 1), ClientFailed, "another version");
});

Deno.test("clients are compared over the rounds that both have", () => {
  const row = (client: CrosscheckRow["client"], round: number, requests_per_s: number): CrosscheckRow => ({
    experiment: "epoll",
    connections: 1,
    client,
    round,
    requests_per_s,
    client_cpu_us_per_request: 1,
    mean_us: 1,
    p99_us: null,
    answered: 1,
    served: 1,
  });
  const rows = [row("wrk", 1, 100), row("lab", 1, 110), row("lab", 2, 500), row("h2load", 2, 250)];
  assertEquals(against(rows, "wrk")[0], "requests_per_s: lab / wrk 1.100, too few rounds to judge");
  assertEquals(against(rows, "h2load")[0], "requests_per_s: lab / h2load 2.000, too few rounds to judge");
  assertEquals(against(rows.slice(1), "wrk"), []);
});

Deno.test("answers that were not good make no figure", () => {
  const withErrors = `${WRK}  Socket errors: connect 0, read 3, write 0, timeout 0\n`;
  assertThrows(() => readOther("wrk", withErrors, 1), Error, "saw failures");
  assertThrows(() => readOther("h2load", H2LOAD.replace("0 failed", "4 failed"), 1), Error, "saw failures");
  assertThrows(() => readOther("h2load", H2LOAD.replace("51704 succeeded", "0 succeeded"), 1), Error, "saw failures");
});
