/** Picks and checks ports before pods are started, so that a taken one is named at once. Throws with the option that changes it. */
import { createServer, type Server } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

export interface WantedPort {
  /** For the message: `--smtp-port`. */
  readonly option: string;
  /** 0 = any free one. */
  readonly port: number;
}

/** How long a port may still be busy: the pods of a runner that was killed need a moment to leave. */
const busyMs = 5000;

/**
 * The ports to use, in the same order and all different. They are free when this returns; nobody holds them.
 * @throws Error when one is taken
 */
export async function pickPorts(host: string, wanted: readonly WantedPort[]): Promise<number[]> {
  const held: Server[] = [];
  try {
    const ports: number[] = [];
    // Fixed ones first: a free one that is picked must not be one of them.
    const order = [...wanted.keys()].sort(
      (a, b) => Number(wanted[a]?.port === 0) - Number(wanted[b]?.port === 0),
    );
    for (const index of order) {
      const server = await hold(host, wanted[index] ?? { option: "", port: 0 });
      held.push(server);
      const address = server.address();
      ports[index] = typeof address === "object" && address !== null ? address.port : 0;
    }
    return ports;
  } finally {
    await Promise.all(held.map((server) => new Promise((closed) => void server.close(closed))));
  }
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
