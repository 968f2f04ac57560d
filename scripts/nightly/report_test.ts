import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { EXIT } from "../../lib/cli/exit.ts";
import { recordMarkdown, type RegressionRow } from "../../lib/regress/record.ts";
import { folder } from "../../lib/testing/folder.ts";
import { night } from "../../lib/testing/fixtures.ts";
import { annotationOf, reportToGithub, sentenceOfNight } from "./report.ts";

Deno.test("a job shows what must not be overlooked", () => {
  const codes = [EXIT.ok, EXIT.failed, EXIT.inconclusive, EXIT.unavailable, EXIT.harness];
  const { experiments } = night(1, { ratio: 1, verdict: "slower" });
  const annotations = codes.map((exit) => annotationOf({ exit, new_baseline: false, experiments }, []));
  assertEquals(annotations.map((line) => line?.split(":")[2]), [undefined, "error", "warning", "error", "error"]);
  assertMatch(annotations[1]!, /^::error::Slower: [^\n]+$/);
  assertEquals(annotationOf({ exit: EXIT.ok, new_baseline: true, experiments }, []), null);
});

Deno.test("a server that did not start is broken in the annotation and the summary, and not slower", () => {
  const reason = "my-api ended with exit code 1 before it listened: at 100 %\n  and more";
  const record = { ...night(1, { ratio: null, experiment: "my-api", verdict: "broken", reason }), exit: EXIT.failed };
  assertEquals(
    annotationOf(record, []),
    "::error::Broken: my-api ended with exit code 1 before it listened: at 100 %25.",
  );
  const markdown = recordMarkdown(record);
  assertMatch(markdown, /^## Broken: my-api ended with exit code 1 before it listened: at 100 %\.\n/);
  assert(!/slower/i.test(`${annotationOf(record, [])}${markdown}`), markdown);
});

Deno.test("the first night says that a baseline was made and what it is for, and warns of nothing", () => {
  const row = (experiment: string, verdict: RegressionRow["verdict"]) =>
    night(1, { ratio: 1, experiment, verdict }).experiments;
  const ended = (experiments: RegressionRow[], exit: number = EXIT.inconclusive) => ({
    exit,
    new_baseline: false,
    experiments,
  });
  const made = "A baseline was made of my-api: the next night is compared with it.";
  const first = ended(row("my-api", "inconclusive"));
  assertEquals(sentenceOfNight(first, ["my-api"]), made);
  assertEquals(annotationOf(first, ["my-api"]), `::notice::${made}`);
  assertMatch(sentenceOfNight(first, []), /^Inconclusive: /);
  const beside = ended([...row("a", "not_slower"), ...row("my-api", "inconclusive")]);
  assertEquals(sentenceOfNight(beside, ["my-api"]), `Not slower: a. ${made}`);
  const open = ended([...row("a", "inconclusive"), ...row("my-api", "inconclusive")]);
  assertMatch(annotationOf(open, ["my-api"])!, /^::warning::Inconclusive: .* A baseline was made of my-api: /);
  const broken = ended([...row("a", "broken"), ...row("my-api", "inconclusive")], EXIT.failed);
  assertMatch(annotationOf(broken, ["my-api"])!, /^::error::Broken: a\. A baseline was made of my-api: /);
});

Deno.test("several nights in a row without a verdict are a warning beside the job and in the summary", () => {
  const undecided = [{ experiment: "a", nights: 4 }, { experiment: "b", nights: 3 }];
  const record = { ...night(1, { ratio: 1, experiment: "a", verdict: "inconclusive" }), exit: 3, undecided };
  const said = "nothing was decided about a for 4 nights, about b for 3 nights in a row.";
  assertMatch(recordMarkdown(record), new RegExp(`^- Warning: ${said}$`, "m"));
  for (const made of [[], ["a"]]) {
    const annotation = annotationOf(record, made)!;
    assert(annotation.startsWith("::warning::") && annotation.endsWith(`Also, ${said}`), annotation);
  }
});

Deno.test({
  name: "a job gets the table as its summary, and the record as an output of one line, behind what other steps wrote",
  ignore: Deno.build.os === "windows", // it has no tee
  fn: async () => {
    using dir = folder();
    const summary = join(dir.path, "summary");
    const output = join(dir.path, "output");
    Deno.writeTextFileSync(output, "before=1\n");
    const record = night(1, { ratio: 1, reason: "one line\nand another" });
    await reportToGithub(record, [], "\nIn the history: a\n", { isJob: false, summary, output });
    assertMatch(Deno.readTextFileSync(summary), /^## Not slower\.\n[^]*\n\nIn the history: a\n\n$/);
    const [before, line, ...more] = Deno.readTextFileSync(output).split("\n");
    assertEquals([before, more], ["before=1", [""]]);
    assertEquals(JSON.parse(line!.slice("night=".length)), record);
  },
});
