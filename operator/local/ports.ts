/** Picks and checks ports before pods are started, so that a taken one is named at once. Throws with the option that changes it. */
import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { createServer, type Server } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

export interface WantedPort {
  /** For the message: `--smtp-port`. */
  readonly option: string;
  /** 0 = any free one. */
  readonly port: number;
  /** Where it listens, if not where the others do. */
  readonly host?: string;
}

/** How long a port may still be busy: the pods of a runner that was killed need a moment to leave. */
const busyMs = 5000;

/**
 * Free ports are looked for here: below what systems give to outgoing connections (Linux from 32768 on, others from 49152, RFC 6335 §6).
 * One of those could be taken by any connection before its server listens, and again whenever that server starts anew.
 */
const anyPorts = { first: 20_000, count: 10_000 };
const anyTries = 100;

/** Below its bound, at random. */
type Choose = (bound: number) => number;

/** So many different ports, for servers that must be told theirs. */
export function freePorts(count: number, host = "127.0.0.1", choose: Choose = randomInt): Promise<number[]> {
  return pickPorts(
    host,
    Array.from({ length: count }, () => ({ option: "", port: 0 })),
    choose,
  );
}

/**
 * The ports to use, in the same order and all different. They are free when this returns; what was asked for as any free one is given to
 * nobody else who asks here, in whichever process, until this process ends.
 * @throws Error when one is taken
 */
export async function pickPorts(
  host: string,
  wanted: readonly WantedPort[],
  choose: Choose = randomInt,
): Promise<number[]> {
  const held: Server[] = [];
  try {
    const ports: number[] = [];
    // Fixed ones first: a free one that is picked must not be one of them.
    const order = [...wanted.keys()].sort(
      (a, b) => Number(wanted[a]?.port === 0) - Number(wanted[b]?.port === 0),
    );
    for (const index of order) {
      const { option = "", port = 0, host: at = host } = wanted[index] ?? {};
      const server = await (port === 0 ? holdAny(at, choose) : hold(at, { option, port }));
      held.push(server);
      const address = server.address();
      ports[index] = typeof address === "object" && address !== null ? address.port : 0;
    }
    return ports;
  } finally {
    await Promise.all(held.map((server) => new Promise((closed) => void server.close(closed))));
  }
}

async function holdAny(host: string, choose: Choose): Promise<Server> {
  for (let tries = 0; tries < anyTries; tries++) {
    const port = anyPorts.first + choose(anyPorts.count);
    if (!(await reserve(host, port))) continue;
    const outcome = await listen(host, port);
    if (typeof outcome !== "string") return outcome;
    if (outcome !== "EADDRINUSE" && outcome !== "EACCES")
      throw new Error(`Cannot listen on ${host}: ${outcome}`);
  }
  // Nearly all are taken: whatever the system gives.
  return hold(host, { option: "", port: 0 });
}

/**
 * Takes the UDP port of the same number for as long as this process lives, which says to others who look for a port that this one is given:
 * its server does not listen yet, or is being started again. Unlike a file the system takes it back, however the process ends.
 */
function reserve(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    socket.once("error", (error: NodeJS.ErrnoException) => {
      socket.close();
      // With any other trouble the server's own attempt says what it is.
      resolve(error.code !== "EADDRINUSE");
    });
    socket.bind({ address: host, port, exclusive: true }, () => {
      socket.unref();
      resolve(true);
    });
  });
}

async function hold(host: string, { option, port }: WantedPort): Promise<Server> {
  for (let waitedMs = 0; ; waitedMs += 250) {
    const outcome = await listen(host, port);
    if (typeof outcome !== "string") return outcome;
    if (outcome !== "EADDRINUSE" || waitedMs >= busyMs)
      throw new Error(
        `Cannot listen on ${host} port ${port}: expected a free port, got ${outcome} (${option} changes it, 0 takes any)`,
      );
    await delay(250);
  }
}

function listen(host: string, port: number): Promise<Server | string> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => resolve(server));
  });
}
