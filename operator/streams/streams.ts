/** The pools' queues over shared connections: pools with the same servers and login share one. Never throws. */
import { randomUUID } from "node:crypto";
import { type NatsLink, type NatsSettings, openLink } from "./connection.ts";
import { createPoolQueue, type PoolQueue } from "./pool-queue.ts";

interface QueueSettings extends NatsSettings {
  readonly shards: number;
}

export interface Streams {
  /** The queue of `namespace/name`; connects in the background when the settings are new. */
  pool(pool: string, settings: QueueSettings): PoolQueue;
  /** The queue that `pool` made; undefined for a pool that is not there. */
  known(pool: string): PoolQueue | undefined;
  /** The pool is gone. */
  forget(pool: string): void;
  close(): Promise<void>;
}

export interface StreamsOptions {
  /** Shown by NATS as the client's name. */
  readonly name: string;
  after(ms: number, run: () => void): () => void;
}

interface Shared {
  readonly link: NatsLink;
  readonly users: Set<string>;
}

interface Known {
  readonly key: string;
  readonly linkKey: string;
  readonly queue: PoolQueue;
}

export function createStreams({ name, after }: StreamsOptions): Streams {
  const links = new Map<string, Shared>();
  const pools = new Map<string, Known>();
  const release = (pool: string, linkKey: string): void => {
    const shared = links.get(linkKey);
    shared?.users.delete(pool);
    if (shared === undefined || shared.users.size > 0) return;
    links.delete(linkKey);
    void shared.link.close();
  };
  return {
    pool(pool, { shards, ...settings }) {
      const linkKey = keyOf(settings);
      const key = `${shards} ${linkKey}`;
      const known = pools.get(pool);
      if (known?.key === key) return known.queue;
      const shared = links.get(linkKey) ?? { link: openLink({ settings, name, after }), users: new Set() };
      links.set(linkKey, shared);
      shared.users.add(pool);
      if (known !== undefined && known.linkKey !== linkKey) release(pool, known.linkKey);
      const queue = createPoolQueue({ pool, shards, link: shared.link, newJob: randomUUID, after });
      pools.set(pool, { key, linkKey, queue });
      return queue;
    },
    known: (pool) => pools.get(pool)?.queue,
    forget(pool) {
      const known = pools.get(pool);
      pools.delete(pool);
      if (known !== undefined) release(pool, known.linkKey);
    },
    async close() {
      const all = [...links.values()];
      links.clear();
      pools.clear();
      await Promise.all(all.map(({ link }) => link.close()));
    },
  };
}

function keyOf({ servers, login, tls }: NatsSettings): string {
  const secret =
    login.kind === "creds" ? { kind: "creds", creds: Buffer.from(login.creds).toString("base64") } : login;
  return JSON.stringify([servers.toSorted(), secret, tls ?? null]);
}
