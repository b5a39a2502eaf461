import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeHandOver, encodeHandOver } from "#mta-pod/hand-over-record.ts";
import type { SiteHandover } from "#mta-pod/schedule/types.ts";

const now = 1_700_000_000_000;

function site(name: string, open = 0): SiteHandover {
  const spent = { source: "default", open, window: 4, pausedUntil: 0 };
  return {
    site: name,
    backoffUntil: now + 9000,
    sources: [{ ...spent, nextMessageAt: now + 32, nextConnectionAt: now - 5 }],
  };
}

test("a hand-over record carries what is left, so that a pod with another clock waits no shorter", () => {
  const text = JSON.stringify(encodeHandOver({ inFlight: [7, 9], sites: [site("s", 2)] }, now));
  const elsewhere = now - 3_600_000;
  assert.deepEqual(decodeHandOver(JSON.parse(text), elsewhere), {
    inFlight: [7, 9],
    sites: [
      {
        site: "s",
        backoffUntil: elsewhere + 9000,
        sources: [
          {
            source: "default",
            open: 2,
            window: 4,
            pausedUntil: 0,
            nextMessageAt: elsewhere + 32,
            nextConnectionAt: elsewhere,
          },
        ],
      },
    ],
    former: [],
  });
});

test("a hand-over record is bounded, and sites with open connections are told first", () => {
  const sites = Array.from({ length: 2000 }, (_, index) => site(`s${index}`, index === 1999 ? 3 : 0));
  const inFlight = Array.from({ length: 9000 }, (_, index) => index + 1);
  const suspicion = { takenAt: now, until: now, noted: new Set(inFlight) };
  const encoded = encodeHandOver({ inFlight, sites, suspicion }, now);
  assert.equal(encoded.suspicion?.noted.at(-1), 9000, "what was noted last is told");
  assert.equal(encoded.sites[0]?.site, "s1999");
  assert.ok(JSON.stringify(encoded).length < 256 * 1024);
  assert.ok(decodeHandOver(encoded, now));
});

test("what is not a hand-over record is none", () => {
  const good = encodeHandOver({ inFlight: [1], sites: [site("s")] }, now);
  const bad = [
    null,
    undefined,
    "x",
    {},
    { ...good, v: 2 },
    { ...good, inFlight: [-1] },
    { ...good, inFlight: ["1"] },
    { ...good, sites: [{ site: "s", backoffMs: Number.POSITIVE_INFINITY, sources: [] }] },
    { ...good, sites: [{ site: "s", backoffMs: 0, sources: [{ source: "default", open: -1 }] }] },
  ];
  for (const value of bad) assert.equal(decodeHandOver(value, now), undefined, JSON.stringify(value));
});

const budgets = {
  told: [
    { kind: "perTenant" as const, name: "mail/acme", busy: 2, nextMessageAt: now + 900 },
    { kind: "perSenderDomain" as const, name: "acme.example", busy: 0, nextMessageAt: now + 20 },
  ],
  othersSpentAt: now - 5000,
  anybodys: 3,
};

test("what tenants and sender domains have spent is carried as what is left of it", () => {
  const text = JSON.stringify(encodeHandOver({ inFlight: [], sites: [{ ...site("s"), budgets }] }, now));
  const elsewhere = now + 3_600_000;
  const [read] = decodeHandOver(JSON.parse(text), elsewhere)?.sites ?? [];
  const by = elsewhere - now;
  assert.deepEqual(read?.budgets, {
    told: budgets.told.map((one) => ({ ...one, nextMessageAt: one.nextMessageAt + by })),
    othersSpentAt: budgets.othersSpentAt + by,
    anybodys: 3,
  });
});

test("a record that says nothing of tenants is not one of tenants that have spent nothing", () => {
  const before = JSON.parse(JSON.stringify(encodeHandOver({ inFlight: [], sites: [site("s")] }, now)));
  assert.equal(decodeHandOver(before, now)?.sites[0]?.budgets, undefined);
  const none = encodeHandOver({ inFlight: [], sites: [{ ...site("s"), budgets: { told: [] } }] }, now);
  assert.deepEqual(decodeHandOver(JSON.parse(JSON.stringify(none)), now)?.sites[0]?.budgets, { told: [] });
  const later = { ...none.sites[0], budgets: [{ kind: "perMoon", name: "x", busy: 1, messageMs: 1 }] };
  assert.deepEqual(decodeHandOver({ ...none, sites: [later] }, now)?.sites[0]?.budgets, { told: [] });
});

test("tenants beyond what a record holds are told to have spent just now, and their connections to be anybody's", () => {
  const many = Array.from({ length: 1500 }, (_, index) => ({
    kind: "perTenant" as const,
    name: `mail/t${index}`,
    busy: 1,
    nextMessageAt: now + index,
  }));
  const encoded = encodeHandOver(
    {
      inFlight: [],
      sites: [
        { ...site("s", 9), budgets: { told: many } },
        { ...site("t"), budgets },
      ],
    },
    now,
  );
  const [first, second] = decodeHandOver(encoded, now)?.sites ?? [];
  assert.deepEqual([first?.budgets?.told.length, first?.budgets?.othersSpentAt], [1000, now]);
  assert.equal(first?.budgets?.anybodys, 500);
  assert.deepEqual(second?.budgets, { told: [], othersSpentAt: now, anybodys: 5 });
});
