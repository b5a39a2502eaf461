/** What the tests of the room share: kinds, objects, a clock that runs fast or by hand. */
import { Agent } from "node:http";
import { systemClock } from "#operator/kube/clock.ts";
import { createTransport } from "#operator/kube/transport.ts";
import type { Clock, KubeObject, Random, ResourceType, Transport } from "#operator/kube/types.ts";

export const tenants: ResourceType = {
  group: "mailboat.dev",
  version: "v1alpha1",
  plural: "tenants",
  kind: "Tenant",
  namespaced: true,
};
export const configMaps: ResourceType = {
  group: "",
  version: "v1",
  plural: "configmaps",
  kind: "ConfigMap",
  namespaced: true,
};
export const secrets: ResourceType = {
  group: "",
  version: "v1",
  plural: "secrets",
  kind: "Secret",
  namespaced: true,
};
export const leases: ResourceType = {
  group: "coordination.k8s.io",
  version: "v1",
  plural: "leases",
  kind: "Lease",
  namespaced: true,
};

export function tenant(name: string, spec: object = {}, metadata: object = {}): KubeObject {
  return {
    apiVersion: "mailboat.dev/v1alpha1",
    kind: "Tenant",
    metadata: { name, namespace: "mail", ...metadata },
    spec,
  };
}

export function configMap(name: string, data: Record<string, string>, metadata: object = {}): KubeObject {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: "mail", ...metadata }, data };
}

/** Real time, `times` as fast: waits of seconds take milliseconds. */
export function fastClock(times: number): Clock {
  return {
    now: () => systemClock.now(),
    monotonic: () => performance.now() * times,
    after(ms, run) {
      const timer = setTimeout(run, ms / times);
      return () => clearTimeout(timer);
    },
  };
}

export interface ManualClock extends Clock {
  /** Runs the timers that fall due within `ms`, in order. */
  advance(ms: number): void;
  /** Timers that wait. */
  pending(): number;
}

export function manualClock(): ManualClock {
  let now = 1_000_000;
  let timers: { readonly at: number; readonly run: () => void }[] = [];
  return {
    now: () => 1_790_000_000_000 + now,
    monotonic: () => now,
    after(ms, run) {
      const timer = { at: now + Math.max(0, ms), run };
      timers.push(timer);
      return () => {
        timers = timers.filter((one) => one !== timer);
      };
    },
    advance(ms) {
      const end = now + ms;
      for (;;) {
        const due = timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
        if (due === undefined) break;
        timers = timers.filter((one) => one !== due);
        now = Math.max(now, due.at);
        due.run();
      }
      now = end;
    },
    pending: () => timers.length,
  };
}

/** mulberry32: the same numbers for the same seed. */
export function seeded(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Lets everything that is ready run, I/O included. */
export async function settle(turns = 20): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** Straight to the fake API server, without kubeconfig and repetitions. */
export function transportTo(api: { readonly url: string }, clock: Clock, timeoutMs?: number): Transport {
  const agent = new Agent({ keepAlive: true });
  const access = {
    server: new URL(api.url),
    credentials: () => Promise.resolve({ headers: {}, agent }),
    renew: () => false,
    close: () => agent.destroy(),
  };
  return createTransport({ access, clock, timeoutMs });
}
