import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parentShardOf, parentSite, shardOf } from "#crds/wire/subject.ts";
import { createIntake, envelopeOf, hostsKey, type Message, type StoredAt } from "#mta-pod/intake.ts";
import type { Routed, Router, SiteRoute } from "#mta-pod/route/router.ts";
import type { Publisher, Stored } from "#mta-pod/spool/publisher.ts";

type PutEntry = Parameters<Publisher["store"]>[0];

const shards = 8;
const message: Message = {
  id: "01jz0000000000000000000001",
  tenant: "mail/acme",
  stream: "default",
  class: "transactional",
  from: "news@acme.example",
  to: ["a@one.example"],
  body: Buffer.from("Subject: x\r\n\r\n"),
  eightBit: false,
  smtpUtf8: false,
  receivedAt: 1000,
  expiresAt: 100_000,
  sendAt: 0,
};

function site(id: string, host: string): SiteRoute {
  return { id, label: id, provider: id, rule: null, hops: [{ host, port: 25, preference: 0 }] };
}

/** Two domains of one provider with hosts of their own, two that share hosts, and one that does not resolve. */
const routes: Readonly<Record<string, Routed>> = {
  "one.example": { kind: "site", site: site("s1", "mx.one.example") },
  "same.example": { kind: "site", site: site("s1", "mx.one.example") },
  "customer.example": { kind: "site", site: site("s1", "customer.mx.example") },
  "two.example": { kind: "site", site: site("s2", "mx.two.example") },
};

function world({ isCached = true, answer }: { isCached?: boolean; answer?: Partial<Stored> } = {}) {
  const puts: PutEntry[] = [];
  const told: { shard: number; seq: number; site: string }[] = [];
  const asked: string[] = [];
  const router: Router = {
    configure: () => {},
    peek: (domain) => (isCached ? (routes[domain] ?? { kind: "unknown", text: "not now" }) : undefined),
    async route(domain) {
      asked.push(domain);
      return routes[domain] ?? { kind: "unknown", text: "not now" };
    },
    targets: async () => ({ kind: "unknown", text: "not asked here" }),
  };
  const publisher: Publisher = {
    store(entry, done) {
      puts.push(entry);
      const stored = {
        kind: "stored",
        seq: puts.length,
        duplicate: false,
        bodyChunks: 0,
        subject: "mb.q",
      } as const;
      queueMicrotask(() => done({ ...stored, ...answer } as Stored));
    },
    inFlight: () => 0,
    usedRatio: () => 0,
    close: async () => {},
  };
  const stored = ({ shard, seq }: StoredAt, envelope: { site: string }): void =>
    void told.push({ shard, seq, site: envelope.site });
  const owns = (shard: number): boolean => shard % 2 === 0;
  const enter = (_shard: number, next: () => void): void => next();
  const intake = createIntake({ router, publisher, shards, owns, enter, stored });
  const put = (changes: Partial<Message> = {}, messageId?: string): Promise<Stored> =>
    new Promise((resolve) =>
      intake.put({ ...message, ...changes }, resolve, messageId === undefined ? {} : { messageId }),
    );
  return { intake, put, puts, told, asked };
}

describe("createIntake()", () => {
  test("a message for one site is one entry in the site's shard, with its own id", async () => {
    const { put, puts, told } = world();
    const result = await put({ to: ["a@one.example", "b@same.example"] });
    assert.equal(result.kind, "stored");
    const [entry] = puts;
    assert.equal(puts.length, 1);
    assert.equal(entry?.shard, shardOf("s1", shards));
    assert.equal(entry?.envelope.site, "s1");
    assert.equal(entry?.messageId, message.id);
    assert.equal(entry?.by, "intake");
    assert.deepEqual(told, [{ shard: entry?.shard, seq: 1, site: "s1" }]);
  });

  test("a message for several host sets is one parent entry in the shard of its id", async () => {
    for (const to of [
      ["a@one.example", "b@two.example"],
      ["a@one.example", "b@customer.example"],
      ["a@one.example", "b@nowhere.example"],
    ]) {
      const { put, puts } = world();
      await put({ to });
      assert.equal(puts.length, 1);
      assert.equal(puts[0]?.envelope.site, parentSite);
      assert.equal(puts[0]?.shard, parentShardOf(message.id, shards));
      assert.deepEqual(puts[0]?.envelope.to, to);
    }
  });

  test("a domain without a site is its own", async () => {
    const { put, puts } = world();
    await put({ to: ["a@nowhere.example"] });
    assert.equal(puts[0]?.envelope.site, "nowhere.example");
  });

  test("asks DNS once for each domain that the cache does not know", async () => {
    const { put, puts, asked } = world({ isCached: false });
    await put({ to: ["a@one.example", "b@one.example", "c@same.example"] });
    assert.deepEqual(asked, ["one.example", "same.example"]);
    assert.equal(puts[0]?.envelope.site, "s1");
  });

  test("a duplicate is stored as far as the client goes, and indexed by nobody here", async () => {
    const { put, told } = world({ answer: { duplicate: true } });
    assert.equal((await put()).kind, "stored");
    assert.deepEqual(told, []);
  });

  test("a refusal is handed on", async () => {
    const { put, told } = world({ answer: { kind: "refused", reason: "full" } });
    assert.deepEqual((await put()).kind, "refused");
    assert.deepEqual(told, []);
  });

  test("a notification of our own may use the reserve and has an id of the caller's", async () => {
    const { put, puts } = world();
    await put({ from: "" }, "dsn:x:0");
    assert.equal(puts[0]?.by, "pod");
    assert.equal(puts[0]?.messageId, "dsn:x:0");
  });

  test("group() keeps recipients in order and names the first of each group", async () => {
    const { intake } = world();
    const to = ["a@two.example", "b@one.example", "c@same.example", "d@two.example"];
    assert.deepEqual(await intake.group({ id: "x", to }), [
      { site: "s2", maxAgeMs: undefined, to: ["a@two.example", "d@two.example"], first: 0 },
      { site: "s1", maxAgeMs: undefined, to: ["b@one.example", "c@same.example"], first: 1 },
    ]);
  });
});

test("envelopeOf() lets a rule shorten the age, never lengthen it", () => {
  assert.equal(envelopeOf(message, "s1", 500).expiresAt, 1500);
  assert.equal(envelopeOf(message, "s1", 10_000_000).expiresAt, 100_000);
  assert.equal(envelopeOf(message, "s1", undefined).expiresAt, 100_000);
});

test("hostsKey() tells customers of one provider apart by their hosts", () => {
  assert.notEqual(hostsKey(site("s1", "a.mx.example")), hostsKey(site("s1", "b.mx.example")));
  assert.equal(hostsKey(site("s1", "a.mx.example")), hostsKey(site("s1", "a.mx.example")));
});
