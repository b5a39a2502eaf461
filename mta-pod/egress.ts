/**
 * CORRIDOR: which sources this pod sends from, and the way of each. In mode HostNetwork those whose address its host has: a
 * site has one owner, so limits per (source, site) stay exact whichever sources the owner has. A pod without any of them takes
 * no part: it waits at the start, and is told to leave (`lost`) when the last one has been away for a while.
 */
import { createSocket } from "node:dgram";
import { isIP } from "node:net";
import type { Manifest, PodConfig, Source } from "#crds/pod-config/schema.ts";
import type { Log } from "./runtime/log.ts";
import type { SourceWeight } from "./schedule/types.ts";
import type { Hop } from "./smtp-out/hop.ts";

/** How a source's connections leave. */
interface SourceWay {
  readonly ehlo: string;
  readonly localAddress?: string;
  readonly hop?: Hop;
  /** Nothing leaves. */
  readonly isSink: boolean;
  /** Differs as soon as anything of it does: an open connection is used no longer. */
  readonly key: string;
}

export interface Egress {
  adopt(config: PodConfig): void;
  /** Resolves when there is something to send from. Rejects when `signal` aborts first. */
  ready(signal: AbortSignal): Promise<void>;
  /** Undefined: not to be sent from, here or any more. */
  wayOf(source: string): SourceWay | undefined;
  stop(): void;
}

export interface EgressDeps {
  readonly log: Log;
  setSources(sources: readonly SourceWeight[]): void;
  /** Connections that are not in use are to be closed. */
  changed(): void;
  /** No source has an address here any more. */
  lost(): void;
  /** Runs `run` once after `ms`, keeping no process alive; the answer cancels. */
  after?(ms: number, run: () => void): () => void;
  /** Default: tries to bind it. */
  hasAddress?(address: string): Promise<boolean>;
}

const lookAgainMs = 10_000;
/** An address that moves between hosts is nowhere for a moment. */
const emptyLooks = 3;

export function createEgress(deps: EgressDeps): Egress {
  const { log, setSources, hasAddress = canBind, after = timer } = deps;
  let ways = new Map<string, SourceWay>();
  let names: string | undefined;
  let mode: Manifest["egress"]["mode"];
  let looks = 0;
  let empty = 0;
  let cancel: (() => void) | undefined;
  const waiting = new Set<() => void>();

  const use = (config: PodConfig, sources: readonly Source[]): void => {
    const next = new Map<string, SourceWay>();
    for (const source of sources) {
      const way = wayOf(config, source);
      if (way !== undefined) next.set(source.name, way);
    }
    const isSame =
      next.size === ways.size && [...next].every(([name, { key }]) => ways.get(name)?.key === key);
    ways = next;
    mode = config.manifest.egress.mode;
    setSources(sources);
    if (!isSame) deps.changed();
    if (ways.size > 0) for (const go of waiting) go();
  };

  const look = async (config: PodConfig, number: number): Promise<void> => {
    const { sources } = config.manifest.egress;
    const here = await Promise.all(
      sources.map(async ({ address }) => address === undefined || hasAddress(address)),
    );
    if (number !== looks) return;
    const usable = sources.filter((_, index) => here[index] === true);
    empty = usable.length === 0 ? empty + 1 : 0;
    const found = usable.map(({ name }) => name).join(" ");
    if (found !== names) {
      names = found;
      const wanted = sources.map(({ name, address = "any" }) => `${name} (${address})`).join(" ");
      log[usable.length > 0 ? "info" : "error"]("sources of this host", { found, wanted });
      // A pod of another mode that is about to be replaced goes on as it was until then.
      if (usable.length > 0 || mode === "HostNetwork" || ways.size === 0) use(config, usable);
    }
    if (empty === emptyLooks && mode === "HostNetwork") deps.lost();
    cancel = after(lookAgainMs, () => void look(config, number));
  };

  return {
    adopt(config) {
      cancel?.();
      const number = ++looks;
      empty = 0;
      names = undefined;
      if (config.manifest.egress.mode !== "HostNetwork") return use(config, config.manifest.egress.sources);
      // Nothing leaves before it is known from where.
      if (ways.size === 0) setSources([]);
      void look(config, number);
      return undefined;
    },
    ready: (signal) =>
      new Promise((resolve, reject) => {
        const end = (): void => {
          waiting.delete(end);
          signal.removeEventListener("abort", end);
          if (signal.aborted) reject(new Error("stopped before there was a source to send from"));
          else resolve();
        };
        if (ways.size > 0 || signal.aborted) return end();
        waiting.add(end);
        return signal.addEventListener("abort", end, { once: true });
      }),
    wayOf: (source) => ways.get(source),
    stop() {
      looks++;
      cancel?.();
    },
  };
}

function wayOf({ manifest, proxyLogin }: PodConfig, { ehlo, address, proxy }: Source): SourceWay | undefined {
  const { egress } = manifest;
  const hop =
    egress.proxy === undefined || proxy === undefined
      ? undefined
      : {
          protocol: egress.proxy.protocol,
          ...proxy,
          connectMs: egress.proxy.connectMs,
          ...(address === undefined ? {} : { address }),
          ...(proxyLogin === undefined || !egress.proxy.hasLogin ? {} : { login: proxyLogin }),
        };
  // Never from the pod's own address in place of the proxy's.
  if (egress.mode === "Proxy" && hop === undefined) return undefined;
  const way = {
    ehlo,
    isSink: egress.mode === "Sink",
    ...(hop === undefined ? {} : { hop }),
    ...(hop !== undefined || address === undefined ? {} : { localAddress: address }),
  };
  return { ...way, key: JSON.stringify(way) };
}

/** The kernel's own answer: a list of interfaces knows nothing of ranges such as 127.0.0.0/8. */
function canBind(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket(isIP(address) === 6 ? "udp6" : "udp4");
    const end = (isHere: boolean): void => {
      socket.close();
      resolve(isHere);
    };
    socket.once("error", () => end(false));
    socket.bind(0, address, () => end(true));
  });
}

function timer(ms: number, run: () => void): () => void {
  const running = setTimeout(run, ms);
  running.unref();
  return () => clearTimeout(running);
}
