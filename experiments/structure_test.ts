/** The rules of this project about files: what imports what, what stands where, and how long it may be. */
import { assert, assertEquals } from "@std/assert";
import { basename, dirname, join, relative } from "node:path/posix"; // as imports are written, on every system
import { fileURLToPath } from "node:url";
import { catalogue, type Experiment } from "../lib/catalogue.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const FOLDERS = ["experiments", "lib", "scripts", "notebooks"];
const MAX_FUNCTION_LINES = 50;
const MAX_EXPERIMENT_LINES = 350;
const MAX_LINES: Record<string, number> = { lib: 250, scripts: 150 }; // tests are not counted
const MAX_LONG_EXPERIMENT_LINES = 450;
/** What needs more: rings, a slab, or a loop and besides it threads or processes that must be made, counted and ended. */
const LONG_EXPERIMENTS = "io-uring iocp process-per-conn prefork reactor-pool multi-reactor xdp".split(" ");
const SECTIONS = [
  ...["Kernel ABI", "Limits", "libc", "The runtime", "Build", "Protocol", "Connection", "The rings"],
  ...["The architecture", "Command line"],
];
const SPEAKS_BY_RUNTIME = ["deno-serve"]; // the runtime speaks HTTP, so there is no protocol in the file

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
  assert(imports.includes("node:path/posix") && imports.includes("../lib/catalogue.ts"), imports.join(" "));
  assertEquals(functions.find(({ name }) => name.startsWith("function* walk"))?.lines, 7);
});

Deno.test("an experiment imports nothing but node:util", () => {
  for (const { path, imports } of within("experiments")) {
    if (!isTest(path)) assertEquals(imports.filter((name) => name !== "node:util"), [], path);
  }
});

Deno.test("lib imports packages and lib", () => {
  const mapped: string[] = Object.keys(JSON.parse(Deno.readTextFileSync(join(ROOT, "deno.json"))).imports);
  const isMapped = (name: string) => mapped.some((of) => name === of || name.startsWith(`${of}/`)); // or a file of it
  for (const source of within("lib")) {
    const foreign = source.imports.filter((name) => {
      const file = target(source, name);
      return file === null ? !name.startsWith("node:") && !isMapped(name) : !file.startsWith("lib/");
    });
    assertEquals(foreign, [], source.path);
  }
});

Deno.test("imports in lib run in no circle", () => {
  const graph = new Map(within("lib").map((source) => [source.path, source.imports.map((i) => target(source, i))]));
  const done = new Set<string>();
  const visit = (path: string, way: string[]): void => {
    assert(!way.includes(path), [...way, path].join(" → "));
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) if (next !== null) visit(next, [...way, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
});

Deno.test("nobody imports a script or a notebook, but the test beside it", () => {
  for (const source of sources) {
    const wrong = source.imports.filter((name) => {
      const file = target(source, name);
      if (file === null || !/^(scripts|notebooks)\//.test(file)) return false;
      return !isTest(source.path) || dirname(file) !== dirname(source.path);
    });
    assertEquals(wrong, [], source.path);
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

Deno.test("experiments that speak the protocol themselves speak it in the same words", () => {
  const protocol = (experiment: Experiment) =>
    /^const bytes = .*?(?=^\/\*\*(?:(?!\*\/).)*\*\/\n(?:async )?function burn\()/ms.exec(textOf(experiment))?.[0];
  const speakers = experiments.filter(({ name, peer }) => !peer && !SPEAKS_BY_RUNTIME.includes(name));
  const expected = protocol(speakers.find(({ name }) => name === "epoll")!);
  assert(expected !== undefined && expected.includes("function parseHead"), "epoll has a protocol section");
  for (const speaker of speakers) assertEquals(protocol(speaker), expected, speaker.path);
});

Deno.test("no file is longer than its kind may be", () => {
  for (const { path, text } of sources) {
    const folder = path.split("/")[0]!;
    const limit = folder === "experiments"
      ? LONG_EXPERIMENTS.includes(basename(path, ".ts")) ? MAX_LONG_EXPERIMENT_LINES : MAX_EXPERIMENT_LINES
      : MAX_LINES[folder];
    if (limit === undefined || isTest(path)) continue;
    assert(lineCount(text) <= limit, `${path} has ${lineCount(text)} lines, more than ${limit}`);
  }
});

Deno.test(`no function is longer than ${MAX_FUNCTION_LINES} lines`, () => {
  for (const { path, functions } of sources) {
    for (const { name, lines } of functions) {
      assert(lines <= MAX_FUNCTION_LINES, `${path} has ${lines} lines in: ${name}`);
    }
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
