import assert from "node:assert/strict";
import { test } from "node:test";
import { createRates } from "#mta-pod/rates.ts";
import { mergeTop, type Top } from "#mta-pod/top.ts";

const site = (name: string, queued: number) => ({
  site: name,
  queued,
  open: 1,
  window: 2,
  binding: null,
  backoffUntil: 0,
});
const tenant = { ready: 1, waiting: 2, suspended: 0, receivedPerSecond: 0.5, deliveredPerSecond: 1 };
const source = { open: 2, sites: 1, attemptsPerSecond: 3, deliveredPerSecond: 2 };

test("mergeTop() adds up tenants and sources, keeps sites apart and takes the longest list of suspensions", () => {
  const one: Top = {
    tenants: [{ tenant: "mail/acme", oldestSeconds: 4, ...tenant }],
    sites: [site("small", 1)],
    sources: [
      { source: "default", ...source },
      { source: "second", ...source },
    ],
    suspensions: [],
  };
  const { sources: _, ...former } = one;
  const suspension = { tenant: "mail/acme", by: "pod", at: 1 };
  const other: Top = {
    tenants: [{ tenant: "mail/acme", oldestSeconds: null, ...tenant }],
    sites: [site("big", 9)],
    sources: [{ source: "default", ...source }],
    suspensions: [suspension],
  };
  const merged = mergeTop([one, other, { ...former, tenants: [], sites: [] }]);
  assert.deepEqual(merged.tenants, [
    {
      tenant: "mail/acme",
      ready: 2,
      waiting: 4,
      suspended: 0,
      oldestSeconds: 4,
      receivedPerSecond: 1,
      deliveredPerSecond: 2,
    },
  ]);
  assert.deepEqual(
    merged.sites.map((row) => row.site),
    ["big", "small"],
  );
  assert.deepEqual(merged.sources, [
    { source: "default", open: 4, sites: 2, attemptsPerSecond: 6, deliveredPerSecond: 4 },
    { source: "second", ...source },
  ]);
  assert.deepEqual(merged.suspensions, [suspension]);
});

test("mergeTop() of nobody's answer is empty", () => {
  assert.deepEqual(mergeTop([]), { tenants: [], sites: [], sources: [], suspensions: [] });
});

test("mergeTop() shows a site once, whoever had it before", () => {
  const part = (row: object): Top => ({
    tenants: [],
    sites: [{ ...site("moved", 0), ...row }],
    sources: [],
    suspensions: [],
  });
  const owner = part({ queued: 5, window: 3, binding: "backoff", backoffUntil: 7, sentPerSecond: 2 });
  const former = part({ open: 0, window: 9, sentPerSecond: 1 });
  assert.deepEqual(mergeTop([former, owner, part({ open: 0 })]).sites, [
    { site: "moved", queued: 5, open: 1, window: 3, binding: "backoff", backoffUntil: 7, sentPerSecond: 3 },
  ]);
});

test("createRates() tells what each site took in the last seconds, and nothing of one that is new or forgotten", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const none = { counter: { get: async () => ({ values: [] }) } };
  const good = new Map([["s", 10]]);
  const rates = createRates({
    metrics: { received: none, recipients: none, attempts: none },
    scheduler: { sites: () => good.keys(), siteState: (site: string) => ({ good: good.get(site) }) },
  } as never);
  const look = async (): Promise<readonly number[]> => {
    t.mock.timers.tick(5000);
    await new Promise(setImmediate);
    return ["s", "new"].map((site) => rates.ofSite(site).sentPerSecond);
  };
  await look();
  good.set("s", 60).set("new", 5);
  assert.deepEqual(await look(), [10, 1]);
  good.delete("s");
  assert.deepEqual(await look(), [0, 0]);
  rates.stop();
});
