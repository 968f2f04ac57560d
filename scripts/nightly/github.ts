/**
 * Issues on GitHub, by the command gh. It takes token and repository from its environment (GH_TOKEN, GH_REPO).
 *
 * @module
 */
import * as v from "valibot";
import { KnownFailure, Unavailable } from "../../lib/cli/errors.ts";
import { number, text } from "../../lib/results/check.ts";
import { parseLine } from "../../lib/results/jsonl.ts";
import type { IssueStep, OpenIssue } from "./issue.ts";

/** The label by which the issue is found again. */
export const LABEL = "nightly-regression";

const ISSUES = v.array(v.strictObject({ number, body: text }));

/** gh refused, or printed something else. */
export class GithubFailure extends KnownFailure {
  override readonly name = "GithubFailure";
}

/** Runs gh with an input, and returns what it prints. */
async function gh(args: readonly string[], input = ""): Promise<string> {
  const command = new Deno.Command("gh", { args: [...args], stdin: "piped", stdout: "piped", stderr: "piped" });
  let child: Deno.ChildProcess;
  try {
    child = command.spawn();
  } catch (error) {
    // A program that is not there cannot be permitted either: Deno resolves --allow-run=gh when it starts.
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable)) throw error;
    throw new Unavailable("The issue cannot be reached: gh, the command of GitHub, is not installed.");
  }
  const output = child.output();
  await write(child.stdin, input);
  const { code, stdout, stderr } = await output;
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
  if (code !== 0) {
    throw new GithubFailure(`gh ${args.slice(0, 2).join(" ")} ended with exit code ${code}: ${decode(stderr)}`);
  }
  return decode(stdout);
}

/** Writes an input. A program that ends without reading it says why by its exit code. */
async function write(stdin: WritableStream<Uint8Array>, input: string): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(input));
    await writer.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

/**
 * The open issue with the label, the newest if there are several; null: there is none. Needs `--allow-run=gh`.
 *
 * @throws {Unavailable} If gh is not installed.
 * @throws {GithubFailure} If gh fails.
 */
export async function openIssue(): Promise<OpenIssue | null> {
  const found = await gh([
    "issue",
    "list",
    ...["--label", LABEL],
    ...["--state", "open"],
    ...["--limit", "1"],
    ...["--json", "number,body"],
  ]);
  const parsed = parseLine<OpenIssue[]>(found, ISSUES);
  if ("wrong" in parsed) throw new GithubFailure(`gh issue list cannot be understood, ${parsed.wrong}`);
  return parsed.value[0] ?? null;
}

/**
 * Does a step, and returns a sentence about it. Needs `--allow-run=gh`. A body goes by standard input: an argument of a
 * process is bounded (MAX_ARG_STRLEN, 128 KiB).
 *
 * @throws As {@linkcode openIssue}.
 */
export async function doStep(step: IssueStep): Promise<string> {
  switch (step.step) {
    case "leave":
      return `The issue is left alone: ${step.reason}.`;
    case "open": {
      await gh(["label", "create", LABEL, "--description", "Found by the nightly measurement", "--force"]);
      const url = await gh(["issue", "create", "--title", step.title, "--label", LABEL, "--body-file", "-"], step.body);
      return `Opened: ${url}`;
    }
    case "edit":
      await gh(["issue", "edit", `${step.number}`, "--title", step.title, "--body-file", "-"], step.body);
      return `Edited: #${step.number}, ${step.title}`;
    case "close":
      await gh(["issue", "close", `${step.number}`, "--comment", step.comment]);
      return `Closed: #${step.number}`;
  }
}
