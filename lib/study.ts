/**
 * What many runs together show: a study is one file of rows in results/studies/, stored like a result. results/README.md
 * explains its columns.
 *
 * @module
 */
import { join } from "node:path";
import { type HostFacts, hostFacts } from "./host.ts";
import { MANIFEST, type Manifest } from "./manifest_schema.ts";
import { SELFTEST, type SelftestRow } from "./selftest_rows.ts";
import { FIELDS, SCENARIOS } from "./result_schema.ts";
import { type Check, dictionary, list, nullOr, number, object, oneOf, type Shape, text } from "./shape.ts";
import { entries, fileName, newId, store, STUDIES } from "./store.ts";

/** The version of the format of studies. */
export const STUDY_SCHEMA = 1;

/** The cost of one call that waits for events. */
export interface ReadinessRow {
  call: "select" | "poll" | "epoll_wait";
  descriptors: number;
  wait_us: number;
  wait_us_low: number;
  wait_us_high: number;
  turn_us: number;
  turn_us_low: number;
  turn_us_high: number;
}

/** One figure of one candidate against the reference, in one scenario. Null where it was not measured: `reason` says why. */
export interface ComparisonRow {
  scenario: typeof SCENARIOS[number];
  connections: number;
  rate_per_s: number | null;
  /** What a heavy request of `mixed` burns, in CPU-µs; null in other scenarios. */
  heavy_us: number | null;
  reference: string;
  candidate: string;
  metric: string;
  reference_value: number | null;
  candidate_value: number | null;
  ratio: number | null;
  ratio_low: number | null;
  ratio_high: number | null;
  rounds: number;
  findings: string[];
  reason: string | null;
}

/** What one client saw of one server, and what the server counted of the same time. Null: the client does not tell. */
export interface CrosscheckRow {
  experiment: string;
  connections: number;
  client: "lab" | "wrk" | "h2load";
  round: number;
  requests_per_s: number;
  client_cpu_us_per_request: number;
  mean_us: number;
  p99_us: number | null;
  answered: number;
  served: number;
}

/** One figure of one variant of a probe: the median over its runs. See lib/probes/. */
export interface ProbeRow {
  probe: string;
  variant: string;
  /** With the unit last. */
  metric: string;
  value: number | null;
  low: number | null;
  high: number | null;
  runs: number;
  /** What has to be known of the figure, or why there is none. */
  note: string | null;
}

/** The rows of each kind of study. */
export interface Rows {
  readiness: ReadinessRow;
  comparison: ComparisonRow;
  crosscheck: CrosscheckRow;
  probe: ProbeRow;
  selftest: SelftestRow;
}
export type Kind = keyof Rows;

/** One study. */
export interface Study<K extends Kind> {
  schema: number;
  kind: K;
  id: string;
  /** When it was made, as `Date.toISOString` has it. */
  time: string;
  host: HostFacts;
  /** The command line that repeats it. */
  command: string;
  /** Of a comparison, what each of the compared is: see lib/manifest.ts. Empty in other kinds. */
  manifests: Record<string, Manifest>;
  rows: Rows[K][];
}

const nullable = nullOr(number);
const ROWS: { [K in Kind]: Shape<Rows[K]> } = {
  readiness: {
    call: oneOf(["select", "poll", "epoll_wait"]),
    descriptors: number,
    ...{ wait_us: number, wait_us_low: number, wait_us_high: number },
    ...{ turn_us: number, turn_us_low: number, turn_us_high: number },
  },
  comparison: {
    scenario: oneOf(SCENARIOS),
    connections: number,
    rate_per_s: nullable,
    heavy_us: nullable,
    reference: text,
    candidate: text,
    metric: text,
    reference_value: nullable,
    candidate_value: nullable,
    ratio: nullable,
    ratio_low: nullable,
    ratio_high: nullable,
    rounds: number,
    findings: list(text),
    reason: nullOr(text),
  },
  crosscheck: {
    experiment: text,
    connections: number,
    client: oneOf(["lab", "wrk", "h2load"]),
    round: number,
    requests_per_s: number,
    client_cpu_us_per_request: number,
    mean_us: number,
    p99_us: nullable,
    answered: number,
    served: number,
  },
  probe: {
    probe: text,
    variant: text,
    metric: text,
    value: nullable,
    low: nullable,
    high: nullable,
    runs: number,
    note: nullOr(text),
  },
  selftest: SELFTEST,
};

/** The columns of each kind, with the check of each. A test holds results/README.md against them. */
export const COLUMNS: { [K in Kind]: Readonly<Record<string, Check>> } = ROWS;

/** What is wrong with a value that should be a study of a kind; undefined if nothing is. */
function wrongInStudy(value: unknown, kind: Kind): string | undefined {
  return object({
    schema: oneOf([STUDY_SCHEMA]),
    kind: oneOf([kind]),
    id: text,
    time: text,
    host: object(FIELDS.host),
    command: text,
    manifests: dictionary(object(MANIFEST)),
    rows: list(object(ROWS[kind])),
  })(value, "");
}

/**
 * Stores a study under `results/studies/<kind>/`. Needs `--allow-read` and `--allow-write` for `dir`.
 *
 * @returns The path of the file.
 * @throws {Error} If it cannot be stored, or a row is not what its kind promises.
 */
export async function writeStudy<K extends Kind>(
  kind: K,
  rows: Rows[K][],
  command: string,
  { manifests = {}, dir = "results" }: { manifests?: Record<string, Manifest>; dir?: string } = {},
): Promise<string> {
  const time = new Date().toISOString();
  const study: Study<K> = {
    schema: STUDY_SCHEMA,
    kind,
    id: newId(),
    time,
    host: hostFacts(),
    command,
    manifests,
    rows,
  };
  const path = join(dir, STUDIES, kind, fileName(study));
  const wrong = wrongInStudy(study, kind);
  if (wrong !== undefined) throw new Error(`Cannot store ${path}: ${wrong}.`);
  await store(path, JSON.stringify(study, null, 2) + "\n");
  return path;
}

/** Reads the studies of a kind, the oldest first. Damaged or newer files are named and passed over. Needs `--allow-read`. */
export async function readStudies<K extends Kind>(kind: K, dir = "results") {
  const studies: Study<K>[] = [], passedOver: { path: string; why: string }[] = [];
  for (const entry of await entries(join(dir, STUDIES, kind))) {
    if (!entry.isFile || !entry.name.endsWith(".json")) continue;
    const path = join(dir, STUDIES, kind, entry.name);
    const study = parseStudy(await Deno.readTextFile(path), kind);
    if (typeof study === "string") passedOver.push({ path, why: study });
    else studies.push(study);
  }
  return { studies, passedOver };
}

/** Parses one file: a study, or what is wrong with it. */
function parseStudy<K extends Kind>(content: string, kind: K): Study<K> | string {
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch (error) {
    return `it is damaged: ${(error as SyntaxError).message}`;
  }
  return wrongInStudy(value, kind) ?? value as Study<K>;
}
