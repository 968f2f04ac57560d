import { assert, assertEquals } from "@std/assert";
import { find } from "../catalogue/catalogue.ts";
import { sample } from "../sampling/sampler.ts";
import { startSubject } from "../server/subject.ts";
import { OpenConnections } from "./open_connections.ts";

Deno.test("a server is asked again and again until it is stopped, also while one answer is late", async () => {
  const seen: number[] = [];
  const third = Promise.withResolvers<void>();
  let asked = 0;
  const stats = async () => {
    await Promise.resolve();
    return { open: ++asked, accepted: 0, served: 0 };
  };
  const open = new OpenConnections({ stats }, (count) => {
    seen.push(count);
    if (count === 3) third.resolve();
  });
  open.start(1);
  await third.promise;
  await open.stop();
  const before = asked;
  await new Promise((resolve) => setTimeout(resolve)); // a timer that was left would come first
  assertEquals([asked, seen.length], [before, before]);
  await open.ask();
  assertEquals(seen.at(-1), before + 1, "it can still be asked");
});

Deno.test("of a server that shows no counts there is none", async () => {
  const none: number[] = [];
  for (const server of [{}, { stats: () => Promise.resolve(null) }]) {
    const open = new OpenConnections(server, (count) => void none.push(count));
    await open.ask();
    await open.stop();
  }
  assertEquals(none, []);
});

Deno.test({
  name: "a look leaves a server as it is: no thread, no debugger, and nothing on stderr that passes for its last words",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    await using server = await startSubject(find("epoll"));
    const threads = () => sample(server.pid)!.threads;
    const before = threads();
    for (let i = 0; i < 3; i++) assertEquals((await server.stats())?.open, 0);
    assertEquals(threads(), before);
    assert(!server.stderrTail().includes("Debugger listening"), server.stderrTail());
  },
});
