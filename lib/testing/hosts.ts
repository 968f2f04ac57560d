/**
 * Three hosts in one, for tests of what several hosts do together: network namespaces, each with a kernel network of its own.
 *
 * ```text
 * left  10.77.1.2 ── 10.77.1.1  middle  10.77.2.1 ── 10.77.2.2  right
 *                       10.77.0.1, its own address
 * ```
 *
 * @module
 */
import { Namespace } from "../network/namespaces.ts";

const PORTS = "1024 65535";

/** Hosts, and their addresses. */
export interface Hosts extends AsyncDisposable {
  left: Namespace;
  middle: Namespace;
  right: Namespace;
  address: { left: string; middle: string; right: string };
}

/** Joins the middle one to another one, which reaches all others over it. */
async function link(middle: Namespace, other: Namespace, net: number): Promise<void> {
  const near = `net${net}`;
  await middle.run("ip", ["link", "add", near, "type", "veth", "peer", "name", "up0", "netns", String(other.pid)]);
  await middle.run("ip", ["addr", "add", `10.77.${net}.1/24`, "dev", near]);
  await other.run("ip", ["addr", "add", `10.77.${net}.2/24`, "dev", "up0"]);
  for (const [host, name] of [[middle, near], [other, "up0"]] as const) {
    await host.run("ip", ["link", "set", name, "up"]);
  }
  await other.run("ip", ["route", "add", "default", "via", `10.77.${net}.1`]);
}

/**
 * Makes three hosts. Needs root: see `networkObstacle` of lib/network.
 *
 * @throws {NetworkError} If a step fails. Nothing is left then.
 */
export async function openHosts(): Promise<Hosts> {
  await using stack = new AsyncDisposableStack();
  const [left, middle, right] = [
    stack.use(await Namespace.make()),
    stack.use(await Namespace.make()),
    stack.use(await Namespace.make()),
  ];
  for (const host of [left, middle, right]) {
    await host.run("ip", ["link", "set", "lo", "up"]);
    await host.run("sysctl", ["-qw", `net.ipv4.ip_local_port_range=${PORTS}`, "net.core.somaxconn=8192"]);
  }
  await link(middle, left, 1);
  await link(middle, right, 2);
  await middle.run("ip", ["addr", "add", "10.77.0.1/32", "dev", "lo"]);
  await middle.run("sysctl", ["-qw", "net.ipv4.ip_forward=1"]);
  const owned = stack.move();
  return {
    ...{ left, middle, right },
    address: { left: "10.77.1.2", middle: "10.77.0.1", right: "10.77.2.2" },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
