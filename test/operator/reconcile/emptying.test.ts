/** When a pool counts as closed to a tenant: by what its pods say, and by those that cannot say anything now. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeObject } from "#operator/kube/types.ts";
import type { Context } from "#operator/reconcile/context.ts";
import { createEmptying } from "#operator/reconcile/emptying.ts";

interface PodSeen {
  readonly isReady?: boolean;
  readonly isLeaving?: boolean;
  readonly state?: "running" | "waiting" | "terminated";
  /** Generation that it has told; the tenant is closed from 2 on. */
  readonly told?: number;
}

function podOf({ isReady = false, isLeaving = false, state = "running" }: PodSeen, name: string): KubeObject {
  const deletion = isLeaving ? { deletionTimestamp: "2026-11-30T10:00:00Z" } : {};
  const conditions = [{ type: "Ready", status: isReady ? "True" : "False" }];
  const containerStatuses = [{ name: "mailboat", state: { [state]: {} } }];
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, ...deletion },
    status: { conditions, containerStatuses },
  };
}

/** Whether a queue without entries counts as closed, with these pods. */
async function isClosed(...pods: readonly PodSeen[]): Promise<boolean> {
  const named = pods.map((pod, index) => ({ pod, name: `pod-${index}` }));
  const told = named.flatMap(({ pod, name }) =>
    pod.told === undefined ? [] : [[name, { report: { generation: pod.told } }] as const],
  );
  const fake = {
    clock: { monotonic: () => 0 },
    configuration: {
      tenant: () => ({ pool: "mail/shared", since: 2, isGoing: true }),
      leaver: () => undefined,
      pool: () => undefined,
    },
    reports: { of: () => ({ told: new Map(told) }) },
    streams: { known: () => ({ stored: async () => 0 }) },
    stores: { podsOf: () => new Map(named.map(({ pod, name }) => [name, podOf(pod, name)])) },
  };
  const look = await createEmptying(fake as unknown as Context).look("mail/acme", "mail/shared");
  return look.isClosed;
}

test("a pool is closed once every pod that runs has told a generation without the tenant", async () => {
  assert.equal(await isClosed({ isReady: true, told: 2 }, { isReady: true, told: 3 }), true);
  assert.equal(await isClosed({ isReady: true, told: 2 }, { isReady: true, told: 1 }), false);
  assert.equal(await isClosed({ isReady: true, told: 2 }, { isReady: true }), false);
});

test("pods that run and are not ready, or are leaving, keep it open", async () => {
  assert.equal(await isClosed({}), false);
  assert.equal(await isClosed({ told: 2 }), false, "what it told is from before");
  assert.equal(await isClosed({ isReady: true, told: 2 }, { isReady: true, isLeaving: true }), false);
});

test("a pool in which no container runs takes nothing", async () => {
  assert.equal(await isClosed(), true);
  assert.equal(await isClosed({ state: "waiting" }, { state: "terminated", isLeaving: true }), true);
});
