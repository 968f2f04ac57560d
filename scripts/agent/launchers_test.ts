/** What starts agents on many hosts: the container and the job for Kubernetes in scripts/fleet. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { dirname, join } from "node:path";
import type { Deployment } from "kubernetes-types/apps/v1.d.ts";
import type { Job } from "kubernetes-types/batch/v1.d.ts";
import type { Service } from "kubernetes-types/core/v1.d.ts";
import { parseAllDocuments } from "yaml";
import { asked } from "./asked.ts";
import { folder } from "../../lib/testing/folder.ts";
import { ROOT } from "../../lib/testing/task.ts";

const read = (path: string) => Deno.readTextFileSync(join(ROOT, path));
const DOCUMENTS = parseAllDocuments(read("scripts/fleet/job.yaml"));
const manifests: { kind: string }[] = DOCUMENTS.map((document) => document.toJS());
const [service, deployment, job] = manifests as [Service, Deployment, Job];

/** Where the published schema of a kind is: kubernetes-types is generated from that of Kubernetes. */
const SCHEMAS: Record<string, string> = { Service: "core/v1", Deployment: "apps/v1", Job: "batch/v1" };

/** What the type checker says of manifests that claim to be of their kind; the empty string if nothing is wrong. */
async function wrongIn(manifests: readonly { kind: string }[]): Promise<string> {
  using dir = folder();
  const lines = manifests.flatMap((manifest, i) => [
    `import type { ${manifest.kind} as Kind${i} } from "kubernetes-types/${SCHEMAS[manifest.kind]}.d.ts";`,
    `export const manifest${i}: Kind${i} = ${JSON.stringify(manifest)};`,
  ]);
  const file = join(dir.path, "manifests.ts");
  Deno.writeTextFileSync(file, lines.join("\n"));
  const config = ["--quiet", `--config=${join(ROOT, "deno.json")}`, `--lock=${join(ROOT, "scripts/all.lock")}`];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args: ["check", ...config, file] }).output();
  const said = new TextDecoder().decode(stderr);
  assertEquals(success, said === "", said);
  return said;
}

Deno.test("the manifests are what the published types of Kubernetes allow", async () => {
  assertEquals(DOCUMENTS.flatMap(({ errors, warnings }) => [...errors, ...warnings]), []);
  assertEquals(manifests.map(({ kind }) => kind), ["Service", "Deployment", "Job"]);
  assertEquals(await wrongIn(manifests), "");
  const misspelt = structuredClone(job) as unknown as { kind: string; spec: Record<string, unknown> };
  misspelt.spec.parallelismm = 4;
  assertMatch(await wrongIn([misspelt]), /parallelismm/);
});

Deno.test("the job starts as many agents as it waits for, each on its own name, and finds the broker", () => {
  const { completionMode, completions, parallelism, template } = job.spec!;
  assertEquals([completionMode, completions], ["Indexed", parallelism]);
  const port = service.spec!.ports![0]!.port;
  const [container] = template.spec!.containers;
  const env = Object.fromEntries(container!.env!.map(({ name }) => [name, "3"]));
  const args = container!.args!.map((word) => word.replace(/\$\((\w+)\)/g, (_, name) => env[name]!));
  const { broker, name, bounds, once } = asked(args);
  assertEquals(broker.display, `nats://${service.metadata!.name}:${port}`);
  assertEquals([name, bounds.connections, once], ["agent-3", 20_000, true]);
  assert(bounds.seconds < job.spec!.activeDeadlineSeconds!);
  assertEquals(template.spec!.restartPolicy, "OnFailure");
});

Deno.test("the service finds the pods of the broker, and the port that they have", () => {
  const { template, selector } = deployment.spec!;
  assertEquals(service.spec!.selector, template.metadata!.labels);
  assertEquals(selector.matchLabels, template.metadata!.labels);
  const [container] = template.spec!.containers;
  assertEquals(container!.ports!.map(({ name }) => name), service.spec!.ports!.map(({ targetPort }) => targetPort));
});

/** Instructions of a Dockerfile, by name. */
const instructions = read("scripts/fleet/Dockerfile").split("\n").flatMap((line) => {
  const [, name, rest] = /^([A-Z]+) (.+)$/.exec(line) ?? [];
  return name === undefined ? [] : [{ name, rest: rest! }];
});
const instruction = (name: string) => instructions.find((each) => each.name === name)!.rest;

/** Copies a file or a folder, tests left out. */
function copy(from: string, to: string): void {
  if (!Deno.statSync(from).isDirectory) return Deno.copyFileSync(from, to);
  Deno.mkdirSync(to, { recursive: true });
  for (const { name } of Deno.readDirSync(from)) {
    if (!name.endsWith("_test.ts")) copy(join(from, name), join(to, name));
  }
}

Deno.test("what the image holds is enough for an agent, which has the permissions of its task", async () => {
  const [command, ...words]: string[] = JSON.parse(instruction("ENTRYPOINT"));
  assertEquals([command, ...words].join(" "), JSON.parse(read("deno.json")).tasks.agent.command);
  assertMatch(instruction("FROM"), /^denoland\/deno:debian-\d+\.\d+\.\d+$/);
  assert(read("README.md").includes(`deno@${instruction("FROM").split("-").at(-1)}`), "another Deno than the README's");
  using dir = folder();
  for (const { rest } of instructions.filter(({ name }) => name === "COPY")) {
    const names = rest.split(" ");
    const to = names.pop()!;
    for (const name of names) copy(join(ROOT, name), join(dir.path, to === "./" ? name : to));
  }
  const cached = [...instruction("RUN").matchAll(/\S+\.ts/g)].map(([path]) => path);
  for (const path of cached) assert(Deno.statSync(join(dir.path, path)).isFile, dirname(path));
  const serve = [
    "run",
    "--no-prompt",
    "--allow-read",
    "--allow-net",
    "--lock=scripts/all.lock",
    "scripts/agent/serve.ts",
  ];
  for (const args of [words, serve]) {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [...args, "--help"],
      cwd: dir.path,
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    assertMatch(new TextDecoder().decode(stdout), /^Usage: deno task agent /);
  }
});
