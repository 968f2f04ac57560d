/** The command that acts on the issue, with a gh of its own that stores what it is given. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { delimiter, join } from "node:path";
import { EXIT } from "../../lib/cli/exit.ts";
import type { RegressionRecord, RegressionRow } from "../../lib/regress/record.ts";
import { folder } from "../../lib/testing/folder.ts";
import { night } from "../../lib/testing/fixtures.ts";
import { runTask } from "../../lib/testing/task.ts";

const ignore = Deno.build.os === "windows"; // the gh of this test is a shell script
const GH = `#!/bin/sh
dir=$(dirname "$0")
[ "$GH_TOKEN" = secret ] || exit 9
for word in "$@"; do printf '%s\\037' "$word" >>"$dir/calls"; done
printf '\\n' >>"$dir/calls"
[ -e "$dir/fails" ] && { echo 'HTTP 403: no access' >&2; exit 4; }
case "$1 $2 $*" in
  "issue list "*) cat "$dir/issues" ;;
  "issue create "*--body-file*) cat >"$dir/body"; echo https://example.org/lab/issues/7 ;;
  *--body-file*) cat >"$dir/body" ;;
esac
`;
const ENVIRONMENT = {
  GH_TOKEN: "secret",
  GITHUB_EVENT_NAME: "schedule",
  GITHUB_REF_NAME: "main",
  GITHUB_SERVER_URL: "https://example.org",
  GITHUB_REPOSITORY: "me/lab",
  GITHUB_RUN_ID: "42",
};

/** A folder with a gh and a night. */
function github() {
  const dir = folder();
  const path = (name: string) => join(dir.path, name);
  Deno.writeTextFileSync(path("gh"), GH, { mode: 0o755 });
  Deno.writeTextFileSync(path("issues"), "[]");
  return {
    path,
    write: (name: string, text: string) => Deno.writeTextFileSync(path(name), text),
    body: () => Deno.readTextFileSync(path("body")),
    /** The issues that are open from now on. */
    has: (...issues: { number: number; body: string }[]) =>
      Deno.writeTextFileSync(path("issues"), JSON.stringify(issues)),
    /** Runs the command, and returns what gh was called with. */
    run: async (content: string, env: Record<string, string> = {}) => {
      Deno.writeTextFileSync(path("night.json"), content);
      Deno.writeTextFileSync(path("calls"), "");
      const PATH = `${dir.path}${delimiter}${Deno.env.get("PATH")}`;
      const ended = await runTask("nightly:issue", ["night.json"], dir.path, { PATH, ...ENVIRONMENT, ...env });
      const lines = Deno.readTextFileSync(path("calls")).split("\n").filter((line) => line !== "");
      return { ...ended, calls: lines.map((line) => line.split("\x1f").slice(0, -1)) };
    },
    [Symbol.dispose]: () => dir[Symbol.dispose](),
  };
}

const judged = (verdict: RegressionRow["verdict"], exit: number, change: Partial<RegressionRecord> = {}) =>
  JSON.stringify({ ...night(1, { ratio: 1, verdict }), exit, ...change }, null, 2);
const SLOWER = judged("slower", EXIT.failed);
const GOOD = judged("not_slower", EXIT.ok);
const LABEL = "nightly-regression";
const LIST = ["issue", "list", "--label", LABEL, "--state", "open", "--limit", "1", "--json", "number,body"];
const TITLE = "Slower: event-loop";

Deno.test({
  name: "over three nights the issue is opened, edited, and closed by the body that gh was given",
  ignore,
  fn: async () => {
    using at = github();
    const opened = await at.run(SLOWER);
    assertEquals([opened.code, opened.stderr, opened.stdout], [0, "", "Opened: https://example.org/lab/issues/7\n"]);
    assertEquals(opened.calls, [
      LIST,
      ["label", "create", LABEL, "--description", "Found by the nightly measurement", "--force"],
      ["issue", "create", "--title", TITLE, "--label", LABEL, "--body-file", "-"],
    ]);
    assertStringIncludes(at.body(), "(https://example.org/me/lab/actions/runs/42)");
    at.has({ number: 7, body: at.body() });
    const edited = await at.run(SLOWER);
    assertEquals(edited.calls, [LIST, ["issue", "edit", "7", "--title", TITLE, "--body-file", "-"]]);
    assertEquals([edited.code, edited.stdout], [0, `Edited: #7, ${TITLE}\n`]);
    at.has({ number: 7, body: at.body() });
    const closed = await at.run(GOOD);
    const comment = "Not slower any more: [this run](https://example.org/me/lab/actions/runs/42).";
    assertEquals(closed.calls, [LIST, ["issue", "close", "7", "--comment", comment]]);
    assertEquals([closed.code, closed.stdout], [0, "Closed: #7\n"]);
  },
});

Deno.test({
  name: "a night that says nothing of the issue does not even ask GitHub for it",
  ignore,
  fn: async () => {
    using at = github();
    const dispatch = { GITHUB_EVENT_NAME: "workflow_dispatch", DEFAULT_BRANCH: "main" };
    const cases: [string, Record<string, string>, string][] = [
      ["", {}, "there is no verdict of this night"],
      [judged("inconclusive", EXIT.inconclusive), {}, "the night is inconclusive"],
      [judged("slower", EXIT.ok, { new_baseline: true }), {}, "a new baseline judges nothing"],
      [SLOWER, { ...dispatch, GITHUB_REF_NAME: "topic" }, "this is not the default branch"],
    ];
    for (const [content, env, reason] of cases) {
      const { code, stdout, calls } = await at.run(content, env);
      assertEquals([code, stdout, calls], [0, `The issue is left alone: ${reason}.\n`, []]);
    }
    const { calls } = await at.run(GOOD, dispatch);
    assertEquals(calls, [LIST]); // the default branch, and no issue is open
  },
});

Deno.test({
  name: "what gh refuses or prints in another form, and a night that cannot be read, end with 70 and one sentence",
  ignore,
  fn: async () => {
    using at = github();
    const fails = async (content: string, sentence: RegExp) => {
      const { code, stdout, stderr } = await at.run(content);
      assertEquals([code, stdout], [EXIT.harness, ""], stderr);
      assertMatch(stderr, sentence);
      assertEquals(stderr.trim().split("\n").length, 1, stderr);
    };
    await fails('{"schema":2}', /^night\.json has no record of a night, .*missing/);
    await fails("<html>", /^night\.json has no record of a night, it is damaged/);
    at.write("issues", "a newer gh\n");
    await fails(SLOWER, /^gh issue list cannot be understood, it is damaged/);
    at.write("fails", "");
    await fails(SLOWER, /^gh issue list ended with exit code 4: HTTP 403: no access$/m);
  },
});

Deno.test({
  name: "without gh the command ends with 69, and without one file that is there with 2",
  ignore,
  fn: async () => {
    using at = github();
    Deno.removeSync(at.path("gh"));
    const { code, stderr } = await at.run(SLOWER, { PATH: at.path(".") });
    assertEquals([code, stderr], [
      EXIT.unavailable,
      "The issue cannot be reached: gh, the command of GitHub, is not installed.\n",
    ]);
    for (const args of [[], ["a.json", "b.json"]]) {
      assertEquals((await runTask("nightly:issue", args, at.path("."))).code, EXIT.usage);
    }
    const none = await runTask("nightly:issue", ["none.json"], at.path("."));
    assertEquals(none.code, EXIT.usage);
    assertStringIncludes(none.stderr, "Cannot read none.json: there is no such file.\n");
  },
});
