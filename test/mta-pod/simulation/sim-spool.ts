/** A pod's connection to the modelled JetStream: answers in order, late, or never; broken for a while. What the spool room runs on. */
import type { Clock } from "#mta-pod/runtime/clock.ts";
import type { Log } from "#mta-pod/runtime/log.ts";
import type { Spool } from "#mta-pod/spool/connection.ts";
import type { Answer, Call } from "#mta-pod/spool/request-inbox.ts";
import type { Delivered, Outlet } from "./consumers.ts";
import type { JetStream } from "./jetstream.ts";
import type { Reply } from "./replies.ts";
import type { Process, VirtualTime } from "./virtual-time.ts";

export interface Network {
  readonly time: VirtualTime;
  readonly chance: () => number;
  readonly jetStream: JetStream;
  /** Shares of requests, while there are faults. */
  lost: number;
  repeated: number;
  slow: number;
}

export interface SimSpool {
  readonly spool: Spool;
  isConnected(): boolean;
  /** `isServerDead`: nothing of what is on its way is carried out. */
  disconnect(isServerDead: boolean): void;
  reconnect(): void;
}

export interface SimSpoolOptions {
  readonly network: Network;
  readonly process: Process;
  readonly clock: Clock;
  readonly log: Log;
  readonly pool: string;
  readonly incarnation: string;
  readonly shards: number;
}

type None = Extract<Answer, { kind: "none" }>["reason"];

interface Pending {
  readonly done: (answer: Answer) => void;
}

export function createSimSpool({
  network,
  process,
  clock,
  log,
  pool,
  incarnation,
  shards,
}: SimSpoolOptions): SimSpool {
  const { time, chance, jetStream } = network;
  const closing = new AbortController();
  const reconnected = new Set<() => void>();
  const disconnected = new Set<() => void>();
  const subscriptions = new Map<string, (message: Delivered) => void>();
  const pending = new Set<Pending>();
  let connected = true;
  /** Of the connection: what belongs to one before it never arrives. */
  let generation = 0;
  let life = 0;
  let beats: { readonly at: number; readonly told: [subject: string, message: Delivered][] } | undefined;
  let upAt = 0;
  let downAt = 0;

  const delay = (): number =>
    chance() < network.slow ? chance() * (chance() < 0.2 ? 6_000 : 600) : 0.3 + chance() * 3;
  /** One connection: nothing overtakes. */
  const toServer = (run: () => void): void => {
    upAt = Math.max(upAt, time.now + delay());
    time.after(upAt - time.now, run);
  };
  const toPod = (run: () => void): void => {
    const of = generation;
    downAt = Math.max(downAt, time.now + delay());
    time.arrive(process, downAt - time.now, () => {
      if (of === generation) run();
    });
  };
  const outlet: Outlet = {
    deliver(subject, messages) {
      toPod(() => {
        for (const message of messages) subscriptions.get(subject)?.(message);
      });
    },
    beat(subject, message) {
      if (beats?.at === time.now) return void beats.told.push([subject, message]);
      const told: [string, Delivered][] = [[subject, message]];
      beats = { at: time.now, told };
      return toPod(() => {
        for (const [to, beat] of told) subscriptions.get(to)?.(beat);
      });
    },
  };

  const finish = (one: Pending, answer: Answer): void => {
    if (pending.delete(one)) one.done(answer);
  };
  const none = (reason: None): Answer => ({ kind: "none", reason });

  const request = (call: Call, done: (answer: Answer) => void): void => {
    const one = { done };
    pending.add(one);
    if (!connected) return time.timer(process, 0, () => finish(one, none("disconnected")));
    time.timer(process, call.timeoutMs, () => finish(one, none("timeout")));
    const [sentIn, sentTo] = [generation, life];
    const payload = typeof call.payload === "string" ? call.payload : Buffer.from(call.payload);
    const carryOut = (answer: (reply: Reply) => void): void => {
      // Of a broken connection some has gone out before it broke, of a dead server's nothing.
      if (sentTo !== life || (sentIn !== generation && chance() < 0.5)) return;
      jetStream.serve({ subject: call.subject, payload, block: call.headers, outlet }, answer);
    };
    const isLost = chance() < network.lost;
    if (isLost && chance() < 0.5) return;
    toServer(() => {
      carryOut((reply) => {
        if (isLost || sentIn !== generation) return;
        toPod(() => finish(one, { kind: "answer", message: reply as never }));
      });
      if (chance() < network.repeated) toServer(() => carryOut(() => {}));
    });
  };

  const listen = (listeners: Set<() => void>, listener: () => void): (() => void) => {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  };

  const spool = {
    nc: {
      info: { max_payload: 1_048_576 },
      publish: () => {},
      subscribe: (subject: string, { callback }: { callback: (error: null, message: unknown) => void }) => {
        subscriptions.set(subject, (message) => callback(null, message));
        return { unsubscribe: () => void subscriptions.delete(subject) };
      },
    },
    names: jetStream.names,
    options: {
      servers: [],
      pool,
      pod: process.name,
      incarnation,
      shards,
      replicas: jetStream.replicas,
      maxBytesPerShard: 1e9,
      log,
      clock,
    },
    timers: {
      after(ms: number, run: () => void) {
        const timer = setTimeout(run, ms);
        return () => clearTimeout(timer);
      },
      every(ms: number, run: () => void) {
        const timer = setInterval(run, ms);
        return () => clearInterval(timer);
      },
    },
    /** Feeds alone hear something: what else is only a short cut. */
    hear: (subject: string, heard: (frame: object) => void) => {
      subscriptions.set(subject, ({ subject: from, reply, ...message }) =>
        heard({ subject: from, reply, toMsg: () => ({ subject: from, reply, ...message }) }),
      );
      return () => void subscriptions.delete(subject);
    },
    request,
    ask: (call: Call) => new Promise<Answer>((resolve) => request(call, resolve)),
    connected: () => connected,
    closing: closing.signal,
    onReconnect: (listener: () => void) => listen(reconnected, listener),
    onDisconnect: (listener: () => void) => listen(disconnected, listener),
    closed: async () => undefined,
    close: async () => closing.abort(),
  } as unknown as Spool;

  return {
    spool,
    isConnected: () => connected,
    disconnect(isServerDead) {
      if (isServerDead) life++;
      if (!connected) return;
      connected = false;
      generation++;
      beats = undefined;
      jetStream.disconnect(outlet);
      time.arrive(process, 0, () => {
        for (const one of Array.from(pending)) finish(one, none("disconnected"));
        for (const listener of disconnected) listener();
      });
    },
    reconnect() {
      if (connected) return;
      time.arrive(process, 0, () => {
        connected = true;
        for (const listener of Array.from(reconnected)) listener();
      });
    },
  };
}
