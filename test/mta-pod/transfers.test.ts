import assert from "node:assert/strict";
import { test } from "node:test";
import { guestSite, shardOf } from "#crds/wire/subject.ts";
import { createTransfers, type TransfersDeps } from "#mta-pod/transfers.ts";

const limit = 64 * 1024;

/** Of a pod with connections at so many sites, `open(index)` at each, and some as a guest. */
function told(
  sites: readonly string[],
  open = (_index: number): number => 2,
  guests: readonly (readonly [string, string, number])[] = [],
) {
  const source = "pool-eu-west-1-source-07";
  const deps = {
    pod: {
      clock: { now: () => 0, monotonic: () => 0 },
      ownership: { ownedShards: () => Array.from({ length: 64 }, (_, shard) => shard) },
      scheduler: {
        sites: () => sites,
        snapshot: (site: string) => ({ sources: [{ source, open: open(sites.indexOf(site)) }] }),
      },
    },
    shards: {},
    outbound: { guests: () => guests },
    poison: {},
    deliver: { inFlight: () => new Set([1, 2]) },
    slicing: { told: () => ({ hot: 4 }) },
  } as unknown as TransfersDeps;
  return createTransfers(deps).told();
}

test("told() names the 500 busiest sites", () => {
  const sites = Array.from({ length: 600 }, (_, index) => `mx:${index}`);
  const { open } = told(sites, (index) => index);
  assert.equal(open.length, 500);
  assert.deepEqual([open[0]?.[0], open.at(-1)?.[0]], ["mx:599", "mx:100"]);
});

for (const name of [
  "mx:google.com/alt1.aspmx.l,alt2.aspmx.l,alt3.aspmx.l,alt4.aspmx.l,aspmx.l",
  "mx:iphmx.com/mx1.hc1234-56,mx2.hc1234-56,mx3.hc1234-56,=abcdefghijklm+mail/defaults/partner-domains",
  `mx:${"é".repeat(200)}`,
])
  test(`told() fits a heartbeat where sites have ${name.length} characters, and names the busiest`, () => {
    const sites = Array.from({ length: 1000 }, (_, index) => `${name}${index}`);
    const all = told(sites, (index) => 1 + index);
    const bytes = Buffer.byteLength(JSON.stringify(all));
    assert.ok(bytes <= limit && bytes > limit / 2, `${bytes} bytes`);
    assert.ok(all.open.length <= 500);
    assert.deepEqual(all.open[0]?.[0], `${name}999`);
    assert.deepEqual([all.underWay.length, all.slices], [64, { hot: 4 }]);
  });

test("told() names connections that this pod has as a guest, not those that it lets in", () => {
  const [mine, letIn] = [guestSite("mx:isp.example/mx", "rest"), guestSite("mx:here.example/mx", "rest")];
  const { open, guests } = told(["mx:here.example/mx", letIn], () => 2, [[mine, "default", 3]]);
  assert.deepEqual(
    open.map(([site, , count]) => [site, count]),
    [
      [mine, 3],
      ["mx:here.example/mx", 2],
    ],
  );
  assert.deepEqual(guests, []);
});

test("a successor is not told of guests that it let in itself", async () => {
  const site = guestSite("mx:isp.example/mx", "rest");
  const deps = {
    pod: {
      incarnation: "guest.1",
      clock: { now: () => 0, monotonic: () => 0 },
      scheduler: { sites: () => [] },
    },
    shardCount: 4,
    shards: {},
    parents: { sequences: () => [] },
    poison: {},
    deliver: { inFlight: () => new Set() },
    slicing: {},
    outbound: { guests: (butBy?: string) => (butBy === "home.2" ? [] : [[site, "default", 1]]) },
  } as unknown as TransfersDeps;
  const { answer, stop } = createTransfers(deps);
  const shard = shardOf(site, 4);
  const open = async (successor: string): Promise<unknown> =>
    ((await answer("left-over", { shard, successor })) as { open: unknown }).open;
  assert.deepEqual(await open("home.1"), [[site, "default", 1]]);
  assert.deepEqual(await open("home.2"), []);
  stop();
});
