/**
 * The files that an experiment consists of, highlighted, with the system calls marked.
 *
 * @module
 */
import hljs from "highlight.js";
import { basename, dirname, extname, join } from "node:path";
import type { Experiment } from "../../lib/catalogue/header.ts";

/** One file of an experiment. */
export interface SourceFile {
  /** Relative to the folder of the experiment. */
  path: string;
  language: string;
  text: string;
}

const LANGUAGES: Record<string, string> = {
  ".ts": "typescript",
  ".mjs": "javascript",
  ".c": "c",
  ".h": "c",
  ".erl": "erlang",
  ".go": "go",
  ".rs": "rust",
  ".java": "java",
  ".py": "python",
};
/** What configuration files speak: the folder says whose they are. */
const CONFIGURATIONS: Record<string, string> = { nginx: "nginx", apache: "apache" };

const languageOf = (path: string): string | undefined =>
  extname(path) === ".conf" ? CONFIGURATIONS[basename(dirname(path))] : LANGUAGES[extname(path)];

async function* walk(dir: string, folder = ""): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(join(dir, folder))) {
    const path = folder === "" ? name : `${folder}/${name}`;
    if (isDirectory) yield* walk(dir, path);
    else yield path;
  }
}

/** Whether a text names a file: by its path, or by a name that no other file has. */
function names(text: string, path: string, all: readonly string[]): boolean {
  const name = basename(path);
  const isOnly = all.filter((other) => basename(other) === name).length === 1;
  return text.includes(path) || (isOnly && text.includes(name));
}

/**
 * Reads the file of an experiment; of a peer also the sources that its launcher names, and what a Python source imports from
 * beside it. Needs `--allow-read`.
 */
export async function sourcesOf({ path, peer }: Experiment): Promise<SourceFile[]> {
  const dir = dirname(path);
  const read = async (file: string): Promise<SourceFile> => ({
    path: file,
    language: languageOf(file)!,
    text: await Deno.readTextFile(join(dir, file)),
  });
  const launcher = await read(basename(path));
  if (!peer) return [launcher];
  const all = (await Array.fromAsync(walk(dir))).filter((file) => languageOf(file) !== undefined);
  const place = (file: string) => launcher.text.indexOf(basename(file));
  const named = all.filter((file) => file.includes("/") && names(launcher.text, file, all));
  const sources = await Promise.all(named.toSorted((a, b) => place(a) - place(b)).map(read));
  const imported = sources.filter(({ language }) => language === "python").flatMap((of) =>
    [...of.text.matchAll(/^(?:from|import) (\w+)/gm)].map(([, module]) => `${dirname(of.path)}/${module}.py`)
  ).filter((file) => all.includes(file));
  return [...sources, ...await Promise.all(imported.map(read)), launcher];
}

/** A call through `libc`, in plain or in highlighted TypeScript. Names that begin with _ are glibc's own, but for _exit(2). */
const CALL = /(\blibc\.)(<span class="hljs-title function_">)?([a-zA-Z]\w*|_exit)(<\/span>)?(?=\()/g;
const OF_THE_LIBRARY = /^(abs|getauxval|WSAGetLastError|pthread_\w+)$/; // it does them by itself, or by several calls
const isSystemCall = (name: string) => !OF_THE_LIBRARY.test(name);

/** The system calls that a file of TypeScript makes through `libc`, each once, in the order in which they stand. */
export const systemCalls = ({ language, text }: SourceFile): string[] =>
  language !== "typescript"
    ? []
    : [...new Set([...text.matchAll(CALL)].map((match) => match[3]!).filter(isSystemCall))];

/** The text as HTML: highlighted, each system call an element with a title. */
export function highlighted({ language, text }: SourceFile): string {
  const html = hljs.highlight(text, { language }).value;
  if (language !== "typescript") return html;
  return html.replace(
    CALL,
    (all, before: string, _open, name: string) =>
      isSystemCall(name) ? `${before}<mark class="call" title="system call ${name}">${name}</mark>` : all,
  );
}
