import { assert, assertEquals, assertRejects } from "@std/assert";
import { find } from "./catalogue.ts";
import { compare, COMPARED } from "./compare.ts";

const ignore = Deno.build.os !== "linux";
const plan = { connections: 2, rounds: 2, seconds: 0.1, rate: null };

Deno.test({
  name: "two experiments are compared round by round, and each ratio lies in its interval",
  ignore,
  fn: async () => {
    const rounds: number[] = [];
    const onRound = (round: number) => rounds.push(round);
    const comparison = await compare(find("epoll"), find("event-loop"), { ...plan, rate: 500, onRound });
    assertEquals(rounds, [1, 2]);
    for (const key of COMPARED) {
      const { ratio, reference, candidate } = comparison[key];
      assert(reference > 0 && candidate > 0, key);
      assert(ratio.low <= ratio.estimate && ratio.estimate <= ratio.high, key);
    }
  },
});

Deno.test({
  name: "a server that does not answer on every connection is not compared: the ratio would be of unlike things",
  ignore,
  fn: async () => {
    await assertRejects(() => compare(find("epoll"), find("blocking"), plan), Error, "blocking holds 1 of 2");
  },
});
