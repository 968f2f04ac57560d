import { assert, assertEquals, assertRejects } from "@std/assert";
import { find } from "./catalogue.ts";
import { type Frame, type Wanted, watch } from "./live.ts";
import { StartError } from "./server.ts";

const ignore = Deno.build.os !== "linux";

/** The frames of a load that changes from frame to frame. */
async function frames(name: string, wishes: Wanted[]): Promise<Frame[]> {
  const stop = new AbortController(), seen: Frame[] = [];
  for await (const frame of watch(find(name), () => wishes[seen.length]!, stop.signal, 0.1)) {
    if (seen.push(frame) === wishes.length) stop.abort();
  }
  return seen;
}

Deno.test({
  name: "the load follows what is wanted, up, down, open and closed, and each frame tells what was",
  ignore,
  fn: async () => {
    const wishes = [20, 50, 5].map((connections) => ({ connections, ratePerS: null }));
    const seen = await frames("epoll", [...wishes, { connections: 5, ratePerS: 200 }]);
    assertEquals(seen.map(({ connections }) => connections), [20, 50, 5, 5]);
    assert(seen[0]!.requests_per_s > 400, "a closed loop asks as fast as it can");
    assert(seen[3]!.requests_per_s < 400, `200/s were asked for: ${seen[3]!.requests_per_s}`);
    for (const frame of seen) {
      assert(frame.p50_us! <= frame.p99_us! && frame.cpu_percent! > 0 && frame.threads! > 0 && frame.pss_bytes! > 0);
      assertEquals(frame.reason, null);
    }
    assert(seen[3]!.elapsed_s > seen[0]!.elapsed_s);
  },
});

Deno.test({
  name: "a server that cannot hold all says so in the frame",
  ignore,
  fn: async () => {
    const [frame] = await frames("blocking", [{ connections: 3, ratePerS: 10 }]);
    assert(/got no answer/.test(frame!.reason!), String(frame!.reason));
  },
});

Deno.test({
  name: "where nobody listens there is no frame, and the error says so",
  ignore,
  fn: async () => {
    const own = { name: "mine", family: "own", port: 1, pid: null, words: null } as const;
    await assertRejects(
      async () => {
        for await (const _ of watch(own, () => ({ connections: 1, ratePerS: null }), new AbortController().signal)) {
          break;
        }
      },
      StartError,
      "nobody listens on port 1",
    );
  },
});
