/**
 * What a page says of the run as a whole: that it waits, runs or has ended, and how.
 *
 * @module
 */
/// <reference lib="dom" />
import { byId } from "./controls.ts";
import type { Ending } from "../wire.ts";

/** Shown by the colour of the status, beside its words. */
export type State = "waits" | "runs" | "late" | "over" | "failed";
/** How it ended for this page. */
export type EndState = { how: Ending["how"] | "replaced"; sentence: string };

const ENDINGS: Record<EndState["how"], [status: string, state: State]> = {
  closed: ["Ended", "over"],
  stopped: ["Ended", "over"],
  skipped: ["It cannot run here", "over"],
  not_ready: ["The server did not get ready", "failed"],
  crashed: ["The server failed", "failed"],
  replaced: ["Shown elsewhere", "over"],
};

/** The status line, and the sentence on the end. */
export class Status {
  show(text: string, state: State): void {
    const status = byId("status");
    if (status.textContent !== text) status.textContent = text; // it is spoken again only when it is new
    document.documentElement.dataset["state"] = state;
  }

  end({ how, sentence }: EndState): void {
    this.show(...ENDINGS[how]);
    byId("ending").textContent = sentence;
  }
}
