/**
 * Agents and coordinators as a user starts them, for tests of fleets.
 *
 * @module
 */
import { readProc } from "../sampling/procfs.ts";
import { RunningTask } from "./task.ts";

interface Listening {
  port: number;
}

/** The address of a broker on this machine. */
export const urlOf = ({ port }: Listening): string => `nats://127.0.0.1:${port}`;

/** Starts an agent, and waits until it waits for a run. */
export async function startAgent(
  broker: Listening,
  dir: string,
  name: string,
  ...args: string[]
): Promise<RunningTask> {
  const agent = new RunningTask("agent", ["--nats", urlOf(broker), "--name", name, ...args], dir);
  await agent.hear(/ waits at /);
  return agent;
}

/** What measures a server of this machine over some agents. */
export const measureArgs = (broker: Listening, server: Listening, agents: number): string[] => [
  ...["--name", "mine", "--url", `http://127.0.0.1:${server.port}`],
  ...["--fleet", urlOf(broker), "--agents", String(agents)],
];

/** The processes of a load generator that a task has left running. */
export const loadOf = (task: RunningTask): string[] =>
  task.leftovers().filter((line) => line.includes("lib/load/main.ts"));

/** Kills the process of a task that speaks to its broker: it can say nothing any more, as when its host crashes. */
export function crash(task: RunningTask): void {
  const speaks = (pid: string) =>
    /scripts\/(agent\/serve|measure\/over_fleet)\.ts/.test(readProc(`/proc/${pid}/cmdline`));
  const pids = task.pids().filter(speaks);
  if (pids.length === 0) throw new Error("No process of the task speaks to its broker.");
  for (const pid of pids) Deno.kill(Number(pid), "SIGKILL");
}
