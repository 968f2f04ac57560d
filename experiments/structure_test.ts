/** The rules of this project about files: what imports what, and what stands where. */
import { assert, assertEquals } from "@std/assert";
import { basename, dirname, join, relative } from "node:path/posix"; // as imports are written, on every system
import { fileURLToPath } from "node:url";
import { catalogue, type Experiment, speaksHttp } from "../lib/catalogue/catalogue.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const FOLDERS = ["experiments", "lib", "scripts", "notebooks"];
const MAX_FUNCTION_LINES = 50;
const MAX_ARCHITECTURE_LINES = 150;
/** The rooms of lib. A room imports only from itself and from rooms that stand before it. */
const ROOMS = [
  ..."text cli timing sampling catalogue results server network load fleet tables page charts claims advice".split(" "),
  ..."run compare regress probes notebook testing".split(" "),
];
/** Rooms with a door: code outside of the room imports these files of it and no others. */
const DOORS: Record<string, string[]> = {
  load: ["generator.ts", "libc.ts"],
  probes: ["mod.ts", "readiness.ts"],
  page: ["bundle.ts", "fonts.ts"],
  server: [
    "custom.ts",
    "deno_versions.ts",
    "launch.ts",
    "manifest.ts",
    "process_group.ts",
    "server.ts",
    "subject.ts",
    "wine.ts",
  ],
};
/** Rooms that need no second command: each is one instrument, or what a kind of reader calls. */
const WHOLE_ROOMS = ["claims", "network", "notebook", "testing"];
const NOTEBOOK_MODULE = "../lib/notebook/mod.ts";
const SECTIONS = [
  ...["Kernel ABI", "Limits", "libc", "The runtime", "Build", "Protocol", "Shared memory", "Connection"],
  ...["The rings", "The architecture", "Command line"],
];
const SPEAKS_BY_RUNTIME = ["deno-serve", "ws-deno"]; // the runtime speaks, so there is no protocol in the file

/** What the parser of `deno lint` saw in one file. */
interface Source {
  /** Relative to the project. */
  path: string;
  text: string;
  /** As they are written, static and dynamic ones. */
  imports: string[];
  functions: { name: string; lines: number }[];
}

const isTest = (path: string) => path.endsWith("_test.ts");
const lineCount = (text: string) => text.trimEnd().split("\n").length;

function readSource(path: string): Source {
  const text = Deno.readTextFileSync(join(ROOT, path));
  const source: Source = { path, text, imports: [], functions: [] };
  const onImport = ({ source: from }: { source: Deno.lint.Expression | null }) => {
    if (from !== null) source.imports.push(from.type === "Literal" ? String(from.value) : "an expression");
  };
  const onFunction = ({ range: [start, end] }: Deno.lint.Node) => {
    const name = text.slice(start, text.indexOf("\n", start));
    source.functions.push({ name, lines: lineCount(text.slice(start, end)) });
  };
  const create = (): Deno.lint.LintVisitor => ({
    ImportDeclaration: onImport,
    ExportNamedDeclaration: onImport,
    ExportAllDeclaration: onImport,
    ImportExpression: onImport,
    FunctionDeclaration: onFunction,
    FunctionExpression: onFunction,
    ArrowFunctionExpression: onFunction,
  });
  Deno.lint.runPlugin({ name: "structure", rules: { see: { create } } }, basename(path), text);
  return source;
}

function* walk(folder: string): Generator<string> {
  for (const entry of Deno.readDirSync(join(ROOT, folder))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) yield* walk(path);
    else if (/\.tsx?$/.test(entry.name)) yield path;
  }
}

const present = FOLDERS.filter((folder) => [...Deno.readDirSync(ROOT)].some(({ name }) => name === folder));
const sources = present.flatMap((folder) => [...walk(folder)]).map(readSource);
const within = (folder: string) => sources.filter(({ path }) => path.startsWith(`${folder}/`));
const experiments = catalogue();
const textOf = ({ path }: Experiment) => Deno.readTextFileSync(path);

/** The file of the project that an import names; null if it names a package. */
const target = ({ path }: Source, specifier: string): string | null =>
  specifier.startsWith(".") ? join(dirname(path), specifier) : null;

Deno.test("the parser sees imports and functions, so that the tests below have something to judge", () => {
  const { imports, functions } = sources.find(({ path }) => path === "experiments/structure_test.ts")!;
  assert(imports.includes("node:path/posix") && imports.includes("../lib/catalogue/catalogue.ts"), imports.join(" "));
  assertEquals(functions.find(({ name }) => name.startsWith("function* walk"))?.lines, 7);
});

Deno.test("an experiment imports nothing but node:util", () => {
  for (const { path, imports } of within("experiments")) {
    if (!isTest(path)) assertEquals(imports.filter((name) => name !== "node:util"), [], path);
  }
});

Deno.test("lib imports packages and lib", () => {
  const mapped: string[] = Object.keys(JSON.parse(Deno.readTextFileSync(join(ROOT, "scripts/imports.json"))).imports);
  const isMapped = (name: string) => mapped.some((of) => name === of || (of.endsWith("/") && name.startsWith(of)));
  for (const source of within("lib")) {
    const foreign = source.imports.filter((name) => {
      const file = target(source, name);
      return file === null ? !name.startsWith("node:") && !isMapped(name) : !file.startsWith("lib/");
    });
    assertEquals(foreign, [], source.path);
  }
});

/** The room of a file of lib; null for lib/std, which stands in for packages, and for files outside of lib. */
const roomOf = (path: string): string | null => /^lib\/(?!std\/)([^/]+)\//.exec(path)?.[1] ?? null;

/** All imports between files of the project. */
const edges = sources.flatMap((source) =>
  source.imports.flatMap((name) => {
    const to = target(source, name);
    return to === null ? [] : [{ from: source.path, to }];
  })
);

Deno.test("every room of lib stands in the order of rooms, and every file of lib in a room", () => {
  const folders = [...Deno.readDirSync(join(ROOT, "lib"))];
  assertEquals(folders.filter(({ isFile }) => isFile).map(({ name }) => name), ["README.md"]);
  assertEquals(
    folders.filter(({ isDirectory }) => isDirectory).map(({ name }) => name).sort(),
    [...ROOMS, "std"].sort(),
  );
});

Deno.test("lib/README.md says of every room what is in it, in their order", () => {
  const readme = Deno.readTextFileSync(join(ROOT, "lib/README.md"));
  const [, ...names] = [...readme.matchAll(/^\| ([a-z]+) +\| \w.{15}/gm)].map(([_, name]) => name); // behind the heading
  assertEquals(names, ROOMS);
});

Deno.test("a room of lib imports only rooms that stand before it", () => {
  console.log(`    ${ROOMS.join(" ← ")}`);
  const upward = edges.filter(({ from, to }) => {
    const room = roomOf(from);
    const other = roomOf(to);
    if (room === null || other === null || isTest(from)) return false;
    return ROOMS.indexOf(other) > ROOMS.indexOf(room);
  });
  assertEquals(upward, []);
});

Deno.test("imports in lib and scripts run in no circle", () => {
  const graph = Map.groupBy(edges, ({ from }) => from);
  const done = new Set<string>();
  const visit = (path: string, way: string[]): void => {
    assert(!way.includes(path), [...way, path].join(" → "));
    if (done.has(path)) return;
    for (const { to } of graph.get(path) ?? []) visit(to, [...way, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
});

Deno.test("a room with a door is entered by it", () => {
  const past = edges.filter(({ from, to }) => {
    const room = roomOf(to);
    if (room === null || !(room in DOORS) || roomOf(from) === room || isTest(from)) return false;
    return !DOORS[room]!.includes(to.slice(`lib/${room}/`.length));
  });
  assertEquals(past, []);
});

/** The command whose code a file of scripts is: `scripts/live/page/page.ts` and `scripts/exp.ts` are of `live` and `exp`. */
const commandOf = (path: string) => /^scripts\/([^/.]+)/.exec(path)?.[1] ?? null;

Deno.test("the code of a command is imported by this command only", () => {
  const foreign = edges.filter(({ from, to }) => {
    const command = commandOf(to);
    if (command === null) return to.startsWith("notebooks/");
    const isMain = dirname(to) === "scripts";
    if (isMain) return !(isTest(from) && dirname(from) === "scripts");
    return commandOf(from) !== command;
  });
  assertEquals(foreign, []);
});

Deno.test("what one command uses alone lives with this command", () => {
  const users = Map.groupBy(edges.filter(({ from }) => !isTest(from)), ({ to }) => to);
  const commands = (path: string, seen = new Set<string>()): Set<string> => {
    if (seen.has(path)) return new Set();
    seen.add(path);
    if (path.startsWith("scripts/")) return new Set([commandOf(path)!]);
    if (path.startsWith("lib/notebook/")) return new Set(["notebooks"]);
    if (path.startsWith("lib/testing/")) return new Set(["tests"]);
    return new Set((users.get(path) ?? []).flatMap(({ from }) => [...commands(from, seen)]));
  };
  for (const { path } of within("lib")) {
    const room = roomOf(path);
    if (room === null || isTest(path) || WHOLE_ROOMS.includes(room)) continue;
    const isEntered = (users.get(path) ?? []).some(({ from }) => roomOf(from) !== room);
    if (!isEntered) continue;
    const [only, ...others] = commands(path);
    assert(others.length > 0, `${path} is used by ${only} alone: move it to scripts/${only}/`);
  }
});

Deno.test("production code imports nothing that only tests need", () => {
  const wrong = edges.filter(({ from, to }) => !isTest(from) && roomOf(from) !== "testing" && roomOf(to) === "testing");
  assertEquals(wrong, []);
});

Deno.test("a notebook imports one module of the project", () => {
  for (const { name } of Deno.readDirSync(join(ROOT, "notebooks"))) {
    if (!name.endsWith(".ipynb")) continue;
    const { cells } = JSON.parse(Deno.readTextFileSync(join(ROOT, "notebooks", name)));
    const code = cells.filter((cell: { cell_type: string }) => cell.cell_type === "code")
      .map((cell: { source: string[] }) => cell.source.join("")).join("\n");
    const imported = [...code.matchAll(/\bfrom\s+"([^"]+)"|\bimport\("([^"]+)"\)/g)].map((match) =>
      match[1] ?? match[2]
    );
    assertEquals(imported, [NOTEBOOK_MODULE], name);
  }
});

Deno.test("the sections of every experiment stand in the same order", () => {
  for (const experiment of experiments) {
    const found = [...textOf(experiment).matchAll(/^\/\/ ---- (.*?)(?::.*)? -+$/gm)].map((match) => match[1]!);
    const expected = SECTIONS.filter((section) => found.includes(section));
    assertEquals(found, expected, experiment.path);
    assert(found.includes("The architecture") && found.includes("Command line"), experiment.path);
  }
});

/** The protocol sections, each up to what follows it in every file. */
const HTTP_SECTION = /^const bytes = .*?(?=^\/\*\*(?:(?!\*\/).)*\*\/\n(?:async )?function burn\()/ms;
const WEBSOCKET_SECTION = /^\/\/ ---- Protocol: .*?(?=^\/\/ ---- (?:Shared memory|Connection))/ms;

/** Asserts that all files have the same words in a section, those of a model. */
function sameWords(all: readonly Experiment[], model: string, section: RegExp): void {
  const words = (experiment: Experiment) => section.exec(textOf(experiment))?.[0];
  const expected = words(all.find(({ name }) => name === model)!);
  assert(expected !== undefined && expected.includes("function parse"), `${model} has a protocol section`);
  for (const speaker of all) assertEquals(words(speaker), expected, speaker.path);
}

Deno.test("experiments that speak the protocol themselves speak it in the same words", () => {
  const speakers = experiments.filter(({ name, peer }) => !peer && !SPEAKS_BY_RUNTIME.includes(name));
  sameWords(speakers.filter(speaksHttp), "epoll", HTTP_SECTION);
  sameWords(speakers.filter((speaker) => !speaksHttp(speaker)), "ws-epoll", WEBSOCKET_SECTION);
});

Deno.test(`no function is longer than ${MAX_FUNCTION_LINES} lines`, () => {
  for (const { path, functions } of sources) {
    for (const { name, lines } of functions) {
      assert(lines <= MAX_FUNCTION_LINES, `${path} has ${lines} lines in: ${name}`);
    }
  }
});

Deno.test(`the section "The architecture" is no longer than ${MAX_ARCHITECTURE_LINES} lines`, () => {
  for (const experiment of experiments) {
    const [, section] = /^\/\/ ---- The architecture\b.*\n([^]*?)(?=^\/\/ ---- |$(?![^]))/m.exec(textOf(experiment)) ??
      [];
    assert(section !== undefined, `${experiment.path} has no section "The architecture"`);
    const lines = lineCount(section);
    assert(lines <= MAX_ARCHITECTURE_LINES, `${experiment.path}: ${lines} lines`);
  }
});

Deno.test("every experiment has its line in the README beside it", () => {
  const readme = Deno.readTextFileSync(join(ROOT, "experiments/README.md"));
  for (const { name, path } of experiments) {
    const link = `[${name}](${relative(join(ROOT, "experiments"), path)})`;
    assertEquals(readme.split("\n").filter((line) => line.includes(link)).length, 1, `the line of ${link}`);
  }
});

Deno.test("the @run line of an experiment asks for named permissions only", () => {
  for (const { path, run } of experiments) assertEquals(/ (-A|--allow-all|-[RWNESI])\b/.test(run), false, path);
});
