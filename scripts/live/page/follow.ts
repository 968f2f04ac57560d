/**
 * The stream of events that a page follows, to its end.
 *
 * @module
 */
/// <reference lib="dom" />
import type { EndState } from "./status.ts";

const TRIES = 8; // to come back to a command that does not answer

/** What is to be done with the events of a run, by their names. */
type Handlers = Record<string, (data: never) => void>;

/** Listens to the run until it ends. */
export function follow(on: Handlers, { lost, end }: { lost: () => void; end: (ending: EndState) => void }): void {
  const source = new EventSource("/frames");
  let failures = 0;
  const listen = (name: string, act: (data: never) => void) =>
    source.addEventListener(name, ({ data }) => act(JSON.parse(data) as never));
  for (const [name, act] of Object.entries(on)) listen(name, act);
  source.addEventListener("hello", () => failures = 0);
  listen("replaced", () => {
    source.close();
    end({ how: "replaced", sentence: "Another page shows this run. Load this one again to see it here." });
  });
  listen("end", (ending: EndState) => {
    source.close();
    end(ending);
  });
  source.addEventListener("error", () => {
    lost();
    if (++failures < TRIES && source.readyState !== EventSource.CLOSED) return; // the browser tries again
    source.close();
    end({ how: "stopped", sentence: "The command is gone." });
  });
}
