/** NATS answers nothing for a while, under load and with an operator at work, asserted: what the status says, what clients hear, what is left of it. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { until } from "#test/kit/until.ts";
import { natsSilent } from "./breakages.ts";
import type { Cluster } from "./cluster.ts";
import { type MailScene, namespace, pool, shapeObject, siteCount, tenantObjects } from "./mail-scene.ts";

/** To each site, by the edit that is made meanwhile. */
const connections = 6;
const newcomer = "meanwhile";

export async function natsSilence(t: TestContext, cluster: Cluster, scene: MailScene): Promise<void> {
  const load = scene.load({ messages: Infinity, perSecond: 20, prefix: "silence" });
  const accepted = async (more: number): Promise<void> => {
    const from = load.accepted.size;
    await until("mail to be accepted", () => load.accepted.size >= from + more, 90_000);
  };
  const programmed = (what: string): Promise<string> => conditionOf(cluster, what, "Programmed");
  try {
    await accepted(20);
    const speak = await natsSilent(cluster);
    const startedAt = performance.now();
    const after = (): number => Math.round(performance.now() - startedAt);
    try {
      await until(
        "the pool's status to say so",
        async () => (await programmed(`sendingpool/${pool}`)) === "Unknown QueueUnreachable",
        60_000,
      );
      t.diagnostic(`said after ${after()} ms`);
      await cluster.apply([shapeObject(connections), ...tenantObjects(newcomer)]);
      await until(
        "the operator to have done what it can for a newcomer",
        async () => (await programmed(`tenant/${newcomer}`)) === "Unknown QueueUnreachable",
        30_000,
      );
      assert.equal(await conditionOf(cluster, "tenant/acme", "Ready"), "True Ready", "it runs as before");
    } finally {
      await speak();
    }
    const silentMs = after();
    const all = ["mpool,mtenant,mshape", "--all", "--for=condition=Ready", "--timeout=90s"];
    await cluster.kubectl(["wait", "-n", namespace, ...all]);
    t.diagnostic(`silent for ${silentMs} ms; all Ready ${after() - silentMs} ms after that`);
    await accepted(20);
  } finally {
    load.stop();
  }
  await load.done;
  const counts = await scene.arrived([load]);
  const doubled = [...load.accepted.keys()].filter((id) => (counts.get(id) ?? 0) > 1);
  t.diagnostic(
    `accepted ${load.accepted.size}, lost 0, doubled ${doubled.length}, refused ${load.refused.length}; longest wait for a 250 ${Math.round(load.longestMs())} ms`,
  );
  assert.ok(load.longestMs() > 1000, "it was under load");
  assert.deepEqual(
    load.refused.filter(({ code }) => code >= 500),
    [],
  );
  assert.ok(doubled.length <= siteCount * connections, "no more than can have been open");
}

/** Status and reason. */
async function conditionOf(cluster: Cluster, what: string, wanted: string): Promise<string> {
  const { status } = (await cluster.get(["-n", namespace, what])) as {
    status?: { conditions?: { type: string; status: string; reason: string }[] };
  };
  const found = status?.conditions?.find(({ type }) => type === wanted);
  return found === undefined ? "" : `${found.status} ${found.reason}`;
}
