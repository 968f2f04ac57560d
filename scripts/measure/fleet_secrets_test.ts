/** How agents and a coordinator identify themselves to the broker: users, nkeys, credentials files, TLS. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { nkeys } from "@nats-io/transport-node";
import { join } from "node:path";
import { isInstalled } from "../../lib/catalogue/tools.ts";
import { BrokerProcess, HAS_BROKER } from "../../lib/testing/broker.ts";
import { FakeServer, HELLO } from "../../lib/testing/fake_server.ts";
import { folder } from "../../lib/testing/folder.ts";
import { filesIn, project, ROOT, RunningTask, runTask } from "../../lib/testing/task.ts";

const ignore = !HAS_BROKER || Deno.build.os !== "linux";
const SHORT = ["--scenario", "throughput", "--connections", "4", "--seconds", "0.2"];
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/**
 * A run of one agent: both sides with the same words about the broker. Returns the run's outcome and what it stored, and the command
 * lines of all processes while load was made.
 */
async function runOver(url: string, words: readonly string[], env: Record<string, string> = {}) {
  using dir = project();
  await using server = new FakeServer(({ write }) => write(HELLO));
  await using agent = new RunningTask("agent", ["--nats", url, "--name", "one", ...words], dir.path, env);
  await agent.hear(/ waits at /);
  const target = ["--name", "mine", "--url", `http://127.0.0.1:${server.port}`, "--fleet", url];
  await using running = new RunningTask("measure", [...target, ...words, ...SHORT], dir.path, env);
  await running.hear(/^throughput 4: /m);
  const lines = { agent: agent.leftovers(), measure: running.leftovers() };
  const run = await running.end();
  assertEquals(run.code, 0, run.stderr);
  const [stored] = filesIn(dir.path, ".json").map((path) => Deno.readTextFileSync(path));
  return { ...run, stored: JSON.parse(stored!), lines };
}

/** Asserts that both sides are refused: one sentence each, and code 69. */
async function refused(url: string, words: readonly string[], says: RegExp): Promise<void> {
  using dir = project();
  const target = ["--name", "mine", "--url", "http://127.0.0.1:9", "--fleet", url];
  const agent = await runTask("agent", ["--nats", url, ...words], dir.path);
  const run = await runTask("measure", [...target, ...words, ...SHORT], dir.path);
  for (const { code, stdout, stderr } of [agent, run]) {
    assertEquals([code, stdout], [69, ""], stderr);
    assertMatch(stderr, says);
    assert(stderr.trim().split("\n").length <= 2, stderr); // an agent may have said before that it waits
  }
}

Deno.test(
  "a user of the URL is passed on, shown nowhere, and refused with the wrong password",
  { ignore },
  async () => {
    await using broker = await BrokerProcess.start(["--user", "lab", "--pass", "s3cret"]);
    const host = `127.0.0.1:${broker.port}`;
    const { stdout, stderr, stored, lines } = await runOver(`nats://lab:s3cret@${host}`, []);
    for (const all of [lines.agent, lines.measure]) {
      assert(all.length > 1, "the processes of a task are not seen");
      assertEquals(all.filter((line) => line.includes("s3cret")).length, 1); // the one that was typed
    }
    for (const said of [stdout, stderr, JSON.stringify(stored)]) assert(!said.includes("s3cret"), said);
    assertStringIncludes(stored.command, `--fleet nats://${host} `);
    await refused(`nats://lab:wrong@${host}`, [], /^The broker at nats:\/\/127\.0\.0\.1:\d+ refuses these credentials/);
    await refused(`nats://${host}`, [], /refuses these credentials/);
  },
);

Deno.test("a user or a token of the environment or of a file stands in no command line", { ignore }, async () => {
  using dir = folder();
  const [user, token] = ["user", "token"].map((name) => join(dir.path, name));
  Deno.writeTextFileSync(user!, "lab\ns3cret\n");
  Deno.writeTextFileSync(token!, "s3cret\n");
  await using ofUser = await BrokerProcess.start(["--user", "lab", "--pass", "s3cret"]);
  await using ofToken = await BrokerProcess.start(["--auth", "s3cret"]);
  for (
    const [{ port }, words, env] of [
      [ofUser, [], { NATS_USER: "lab", NATS_PASSWORD: "s3cret" }],
      [ofUser, ["--login", user!], {}],
      [ofToken, [], { NATS_TOKEN: "s3cret" }],
      [ofToken, ["--login", token!], {}],
    ] as const
  ) {
    const { stdout, stderr, stored, lines } = await runOver(`nats://127.0.0.1:${port}`, words, env);
    const all = [stdout, stderr, JSON.stringify(stored), ...lines.agent, ...lines.measure];
    assertEquals(all.filter((text) => text.includes("s3cret")), []);
  }
});

Deno.test("where no broker is that is one sentence and code 69", { ignore }, async () => {
  let port = 0;
  {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    port = listener.addr.port;
  }
  await refused(`nats://127.0.0.1:${port}`, [], /^No broker can be reached at nats:\/\/127\.0\.0\.1:\d+: /);
});

Deno.test("an nkey is passed on, and another one is refused", { ignore }, async () => {
  using dir = folder();
  const [known, unknown] = [nkeys.createUser(), nkeys.createUser()];
  const config = join(dir.path, "broker.conf");
  Deno.writeTextFileSync(config, `authorization { users = [ { nkey: ${known.getPublicKey()} } ] }`);
  const [right, wrong] = ["right.nk", "wrong.nk"].map((name) => join(dir.path, name));
  Deno.writeTextFileSync(right!, `${text(known.getSeed())}\n`);
  Deno.writeTextFileSync(wrong!, text(unknown.getSeed()));
  await using broker = await BrokerProcess.start(["-c", config]);
  await runOver(`nats://127.0.0.1:${broker.port}`, ["--nkey", right!]);
  await refused(`nats://127.0.0.1:${broker.port}`, ["--nkey", wrong!], /refuses these credentials/);
});

Deno.test("an account that may not use the subjects of a fleet is refused, with the subject", { ignore }, async () => {
  using dir = folder();
  const config = join(dir.path, "broker.conf");
  const users = ["subscribe", "publish"].map((operation) =>
    `{ user: no-${operation}, password: x, permissions: { ${operation}: { deny: "c10k.>" } } }`
  );
  Deno.writeTextFileSync(config, `authorization { users = [ ${users.join(", ")} ] }`);
  await using broker = await BrokerProcess.start(["-c", config]);
  const host = `127.0.0.1:${broker.port}`;
  await refused(`nats://no-subscribe:x@${host}`, [], /the broker does not allow it to subscribe to c10k\./);
  using other = project();
  const args = ["--name", "mine", "--url", "http://127.0.0.1:9", "--fleet", `nats://no-publish:x@${host}`];
  const { code, stdout, stderr } = await runTask("measure", [...args, ...SHORT], other.path);
  assertEquals([code, stdout], [69, ""]);
  assertMatch(
    stderr,
    /^No run is possible: the coordinator cannot work: the broker does not allow it to publish to c10k\.call\.$/m,
  );
});

Deno.test("an account that may use the subjects of the README and no others is enough", { ignore }, async () => {
  using dir = folder();
  const readme = Deno.readTextFileSync(join(ROOT, "scripts/fleet/README.md"));
  const subjects = JSON.stringify(/need the subjects `([^`]+)` and `([^`]+)`/.exec(readme)!.slice(1));
  const config = join(dir.path, "broker.conf");
  const user = `{ user: lab, password: x, permissions: { publish: ${subjects}, subscribe: ${subjects} } }`;
  Deno.writeTextFileSync(config, `authorization { users = [ ${user} ] }`);
  await using broker = await BrokerProcess.start(["-c", config]);
  await runOver(`nats://lab:x@127.0.0.1:${broker.port}`, []);
});

/** A JWT as NATS has them: signed by an nkey. */
function tokenOf(issuer: nkeys.KeyPair, subject: nkeys.KeyPair, nats: Record<string, unknown>): string {
  const part = (value: unknown) =>
    new TextEncoder().encode(JSON.stringify(value)).toBase64({ alphabet: "base64url", omitPadding: true });
  const iat = Math.floor(Date.now() / 1000);
  const claims = {
    jti: crypto.randomUUID(),
    iat,
    iss: issuer.getPublicKey(),
    sub: subject.getPublicKey(),
    name: "lab",
  };
  const signed = `${part({ typ: "JWT", alg: "ed25519-nkey" })}.${part({ ...claims, nats: { version: 2, ...nats } })}`;
  const signature = issuer.sign(new TextEncoder().encode(signed)).toBase64({
    alphabet: "base64url",
    omitPadding: true,
  });
  return `${signed}.${signature}`;
}

const credsOf = (token: string, seed: string) =>
  `-----BEGIN NATS USER JWT-----\n${token}\n------END NATS USER JWT------\n\n` +
  `-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`;

Deno.test("a credentials file is passed on, and one of another account is refused", { ignore }, async () => {
  using dir = folder();
  const [operator, account, stranger] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createAccount()];
  const user = nkeys.createUser();
  const free = { subs: -1, data: -1, payload: -1 };
  const limits = { ...free, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };
  const ofOperator = tokenOf(operator, operator, { type: "operator" });
  const ofAccount = tokenOf(operator, account, { type: "account", limits });
  const config = join(dir.path, "broker.conf");
  const preload = `resolver_preload: { ${account.getPublicKey()}: "${ofAccount}" }`;
  Deno.writeTextFileSync(config, `operator: "${ofOperator}"\nresolver: MEMORY\n${preload}\n`);
  const [right, wrong] = ["right.creds", "wrong.creds"].map((name) => join(dir.path, name));
  for (const [path, issuer] of [[right!, account], [wrong!, stranger]] as const) {
    const token = tokenOf(issuer, user, { type: "user", ...free, pub: {}, sub: {} });
    Deno.writeTextFileSync(path, credsOf(token, text(user.getSeed())));
  }
  await using broker = await BrokerProcess.start(["-c", config]);
  await runOver(`nats://127.0.0.1:${broker.port}`, ["--creds", right!]);
  await refused(`nats://127.0.0.1:${broker.port}`, ["--creds", wrong!], /refuses these credentials/);
});

const hasTls = await isInstalled("openssl");

Deno.test("TLS with client certificates is passed on", { ignore: ignore || !hasTls }, async () => {
  using dir = folder();
  const [key, certificate] = ["key.pem", "certificate.pem"].map((name) => join(dir.path, name));
  const names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"];
  const made = await new Deno.Command("openssl", {
    args: ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key!, "-out", certificate!, ...names],
    stderr: "piped",
  }).output();
  assert(made.success, text(made.stderr));
  const pair = ["--tlscert", certificate!, "--tlskey", key!, "--tlscacert", certificate!];
  await using broker = await BrokerProcess.start(["--tls", "--tlsverify", ...pair]);
  const url = `tls://127.0.0.1:${broker.port}`;
  await runOver(url, ["--tls-ca", certificate!, "--tls-cert", certificate!, "--tls-key", key!]);
  await refused(url, [], /^No broker can be reached at tls:/);
});
