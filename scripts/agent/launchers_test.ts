/** What starts agents on many hosts: the container and the job for Kubernetes in scripts/fleet. */
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import type { Deployment } from "kubernetes-types/apps/v1.d.ts";
import type { Job } from "kubernetes-types/batch/v1.d.ts";
import type { ConfigMap, EnvVar, Service } from "kubernetes-types/core/v1.d.ts";
import { parseAllDocuments } from "yaml";
import { asked } from "./asked.ts";
import { Unavailable, UsageError } from "../../lib/cli/errors.ts";
import { readBroker } from "../../lib/fleet/address.ts";
import { connectBroker } from "../../lib/fleet/broker.ts";
import { linesOf } from "../../lib/server/launch.ts";
import { BrokerProcess, HAS_BROKER } from "../../lib/testing/broker.ts";
import { FakeServer, HELLO } from "../../lib/testing/fake_server.ts";
import { measureArgs, urlOf } from "../../lib/testing/fleet.ts";
import { folder } from "../../lib/testing/folder.ts";
import { project, ROOT, runTask } from "../../lib/testing/task.ts";

const read = (path: string) => Deno.readTextFileSync(join(ROOT, path));
const DOCUMENTS = parseAllDocuments(read("scripts/fleet/job.yaml"));
const manifests: { kind: string }[] = DOCUMENTS.map((document) => document.toJS());
const [service, settings, deployment, job] = manifests as [Service, ConfigMap, Deployment, Job];

/** Where the published schema of a kind is: kubernetes-types is generated from that of Kubernetes. */
const SCHEMAS: Record<string, string> = {
  Service: "core/v1",
  ConfigMap: "core/v1",
  Deployment: "apps/v1",
  Job: "batch/v1",
};

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
  assertEquals(manifests.map(({ kind }) => kind), ["Service", "ConfigMap", "Deployment", "Job"]);
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
  const written = container!.args!.map((word) => word.replace(/\$\((\w+)\)/g, (_, name) => env[name]!));
  assertThrows(() => asked(written), UsageError, "--allow-target NETWORK-OF-THE-SERVER is no network");
  const { broker, name, bounds, once } = asked(
    written.map((word) => word.replace("NETWORK-OF-THE-SERVER", "10.3.0.0/16")),
  );
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

/** From which secret a variable comes. */
const secretOf = (env: EnvVar[] | undefined) => env?.find(({ name }) => name === "NATS_TOKEN")?.valueFrom?.secretKeyRef;

Deno.test("the broker asks for the token that the agents have, which stands in no file and no command line", () => {
  const [broker] = deployment.spec!.template.spec!.containers;
  const [agent] = job.spec!.template.spec!.containers;
  assertEquals(secretOf(agent!.env), { name: "c10k-nats", key: "token" });
  assertEquals(secretOf(broker!.env), secretOf(agent!.env));
  const text = read("scripts/fleet/job.yaml");
  assertStringIncludes(text, "kubectl create secret generic c10k-nats --from-literal=token=");
  const [volume] = deployment.spec!.template.spec!.volumes!;
  const [mount] = broker!.volumeMounts!;
  assertEquals([volume!.name, volume!.configMap!.name], [mount!.name, settings.metadata!.name]);
  const [file] = Object.keys(settings.data!);
  assertEquals(broker!.args, ["--config", `${mount!.mountPath}/${file}`]);
  assertEquals(JSON.stringify([broker!.args, agent!.args]).includes("TOKEN"), false);
});

Deno.test(
  "with these settings a real broker lets in who has the token of its environment",
  { ignore: !HAS_BROKER },
  async () => {
    using dir = folder();
    const file = join(dir.path, "nats.conf");
    Deno.writeTextFileSync(file, settings.data!["nats.conf"]!);
    const token = `lab-${"0e".repeat(24)}`; // as digits alone it would be read as a number
    const wrap = (words: string[]) => ["env", `NATS_TOKEN=${token}`, ...words];
    await using broker = await BrokerProcess.start(["-c", file], -1, { host: "127.0.0.1", wrap });
    const connect = (variables: { NATS_TOKEN?: string }) =>
      connectBroker(readBroker("nats", urlOf(broker), {}, variables), "test", false);
    const connection = await connect({ NATS_TOKEN: token });
    await connection.close();
    await assertRejects(() => connect({}), Unavailable, "refuses these credentials");
    await assertRejects(() => connect({ NATS_TOKEN: "lab-1" }), Unavailable, "refuses these credentials");
  },
);

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

/** Puts into a folder what the image has. */
function imageIn(dir: string): void {
  for (const { rest } of instructions.filter(({ name }) => name === "COPY")) {
    const names = rest.split(" ");
    const to = names.pop()!;
    for (const name of names) copy(join(ROOT, name), join(dir, to === "./" ? name : to));
  }
}

Deno.test("an image caches what it runs, with the permissions of the task and the Deno of the README", () => {
  const entry: string[] = JSON.parse(instruction("ENTRYPOINT"));
  assertEquals(entry.join(" "), JSON.parse(read("deno.json")).tasks.agent.command);
  const [, version] = /^denoland\/deno:debian-(\d+\.\d+\.\d+)$/.exec(instruction("FROM"))!;
  assertStringIncludes(read("README.md"), `deno@${version}`);
  const cached = [...instruction("RUN").matchAll(/\S+\.ts/g)].map(([path]) => path);
  assertEquals(cached, ["scripts/agent/main.ts", "scripts/agent/serve.ts", "lib/load/main.ts"]);
  const order = instructions.map(({ name }) => name).filter((name) => ["COPY", "USER", "RUN"].includes(name));
  assertEquals(order, ["COPY", "COPY", "COPY", "USER", "RUN"]); // the cache belongs to the user
});

/** Starts the agent of an image; measures a server over it. */
async function measureOver(image: string, broker: { port: number }, server: { port: number }) {
  const [command, ...words]: string[] = JSON.parse(instruction("ENTRYPOINT"));
  assertEquals(command, "deno");
  const agent = new Deno.Command(Deno.execPath(), {
    args: [...words, "--nats", urlOf(broker), "--name", "image"],
    cwd: image,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const lines = linesOf(agent.stderr);
  try {
    const { value } = await lines.next();
    assertStringIncludes(String(value), "Agent image waits at ");
    using dir = project();
    const size = ["--scenario", "hold", "--connections", "5", "--seconds", "0", "--wait", "5", "--no-save"];
    return await runTask("measure", [...measureArgs(broker, server, 1), ...size], dir.path);
  } finally {
    agent.kill("SIGTERM");
    await Array.fromAsync(lines);
    assertEquals((await agent.status).code, 130);
  }
}

const ignore = !HAS_BROKER || Deno.build.os !== "linux";

Deno.test(
  "the agent of an image works, and that of an older checkout is refused as another version",
  { ignore },
  async () => {
    await using broker = await BrokerProcess.start();
    await using server = new FakeServer(({ write }) => write(HELLO));
    using image = folder();
    imageIn(image.path);
    const works = await measureOver(image.path, broker, server);
    assertEquals(works.code, 0, works.stderr);
    Deno.writeTextFileSync(join(image.path, "lib/load/shares.ts"), "\n", { append: true });
    const { code, stdout, stderr } = await measureOver(image.path, broker, server);
    assertEquals([code, stdout], [69, ""], stderr);
    assertMatch(
      stderr,
      /^Only 0 of 1 agent .*: image: it has version \w{16} of the load generator, this coordinator \w{16}\.$/m,
    );
  },
);
