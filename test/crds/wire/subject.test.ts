import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  isEntryOf,
  isSiteWithin,
  parentSite,
  guestSite,
  placeOf,
  poolNames,
  sharedPlaces,
  shardOf,
  siteBeside,
  siteOfHosts,
  sliceIn,
  sliceName,
} from "#crds/wire/subject.ts";
import { hashToken } from "#crds/values/hash.ts";

test("subjects hold tokens only, whatever tenants and sites are called", () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.string({ minLength: 1 }), (tenant, site) => {
      const names = poolNames("mail/shared");
      const subject = names.entrySubject(3, tenant, site);
      assert.match(subject, /^mb\.[a-z2-7]{13}\.3\.q\.[a-z2-7]{13}\.([a-z2-7]{13}|_parent)$/);
      assert.ok(subject.startsWith(names.entryFilter(3, tenant).slice(0, -1)));
    }),
  );
});

test("a parent's site token is no hash and its subject is stored by the shard's stream", () => {
  const names = poolNames("mail/shared");
  assert.ok(names.entrySubject(0, "mail/acme", parentSite).endsWith("._parent"));
  assert.equal(hashToken(parentSite).length, 13);
  assert.ok(names.shardSubjects(0).includes(names.leaseSubject(0)));
});

test("isEntryOf() tells whose an entry is by its subject alone, in a bundle or not", () => {
  const names = poolNames("mail/shared");
  const how = { isForeign: false, bundle: "b1" };
  for (const subject of [
    names.entrySubject(3, "mail/acme", "s"),
    names.entrySubject(3, "mail/acme", "s", how),
  ])
    assert.deepEqual([isEntryOf(subject, "mail/acme"), isEntryOf(subject, "mail/globex")], [true, false]);
});

test("shardOf() spreads sites over all shards", () => {
  const seen = new Set(Array.from({ length: 400 }, (_, site) => shardOf(`site-${site}`, 8)));
  assert.deepEqual(
    [...seen].sort((a, b) => a - b),
    [0, 1, 2, 3, 4, 5, 6, 7],
  );
});

test("shardOf() gives a site's slices shards one after the other, and its first one the site's", () => {
  const shards = Array.from({ length: 9 }, (_, slice) => shardOf(sliceName("mail/hot/rule", slice), 8));
  assert.equal(shards[0], shardOf("mail/hot/rule", 8));
  assert.equal(new Set(shards.slice(0, 8)).size, 8);
  assert.equal(shards[8], shards[0]);
});

test("sites that share their hosts have one place, and one shard; slices have places of their own", () => {
  const beside = siteBeside("relay:25", "mail/shapes/vip");
  assert.deepEqual([placeOf(beside), placeOf("relay:25")], ["relay:25", "relay:25"]);
  assert.equal(shardOf(beside, 64), shardOf("relay:25", 64));
  for (const site of [beside, "relay:25"]) assert.equal(placeOf(sliceName(site, 1)), sliceName(site, 1));
  assert.equal(shardOf(sliceName(beside, 1), 64), shardOf(sliceName("relay:25", 1), 64));
});

test("guests of a slice have its place and its shard", () => {
  const slice = sliceName("mail/hot/rule", 3);
  const guest = guestSite(slice, "mail/shapes/vip");
  assert.deepEqual([placeOf(guest), sharedPlaces(guest)], [slice, sharedPlaces(slice)]);
  assert.equal(shardOf(guest, 64), shardOf(slice, 64));
  assert.deepEqual(sliceIn(slice), { whole: "mail/hot/rule", slice: 3 });
  assert.deepEqual(sliceIn("mail/hot/rule"), { whole: "mail/hot/rule" });
});

test("the site of MX hosts of one organisation names them, in one shard with others of its; sites with some in common share places", () => {
  const some = siteOfHosts("a.example", ["mx2.a.example", "a.example", "mx1.a.example"]);
  assert.equal(some, "mx:a.example/@,mx1,mx2");
  assert.deepEqual(sharedPlaces(some), ["mx:a.example/@", "mx:a.example/mx1", "mx:a.example/mx2"]);
  const one = siteOfHosts("a.example", ["mx2.a.example"]);
  const beside = siteBeside(one, "mail/shapes/vip");
  for (const site of [one, beside]) {
    assert.deepEqual(sharedPlaces(site), ["mx:a.example/mx2"]);
    for (const shards of [8, 64]) assert.equal(shardOf(site, shards), shardOf(some, shards));
  }
  assert.equal(shardOf(sliceName(some, 3), 64), (shardOf(some, 64) + 3) % 64);
  assert.deepEqual(sharedPlaces(sliceName(some, 3)), [sliceName(some, 3)]);
});

test("the hosts of others are one token at the end of a site's name, and share nothing", () => {
  const own = ["mx.a.example"];
  const others = ["nota.example", "backup.b.example"];
  const site = siteOfHosts("a.example", [...own, ...others]);
  assert.match(site, /^mx:a\.example\/mx,=[a-z2-7]{13}$/);
  assert.equal(siteOfHosts("a.example", [...others.toReversed(), ...own]), site);
  assert.notEqual(siteOfHosts("a.example", [...own, "backup.b.example"]), site);
  assert.deepEqual(sharedPlaces(site), ["mx:a.example/mx"]);
  assert.equal(shardOf(site, 64), shardOf(siteOfHosts("a.example", own), 64));
});

test("the site of hosts of no organisation, or with long names, is a short name all the same, and always the same", () => {
  const hosts = ["mx.a.example", "backup.b.example"];
  assert.match(siteOfHosts(undefined, hosts), /^mx:[a-z2-7]{13}$/);
  assert.equal(siteOfHosts(undefined, hosts), siteOfHosts(undefined, hosts.toReversed()));
  assert.match(
    siteOfHosts(`${"a".repeat(63)}.example`, [`mx.${"a".repeat(63)}.example`]),
    /^mx:[a-z2-7]{13}$/,
  );
  const long = `${"a".repeat(63)}.${"b".repeat(63)}.a.example`;
  const site = siteOfHosts("a.example", ["mx.a.example", long]);
  assert.match(site, /^mx:a\.example\/#[a-z2-7]{13},mx$/);
  assert.deepEqual(sharedPlaces(siteOfHosts("a.example", [long])), sharedPlaces(site).slice(0, 1));
  assert.deepEqual(sharedPlaces("relay:25+mail/shapes/vip"), ["relay:25"]);
  assert.deepEqual(sharedPlaces("mx:25+mail/shapes/vip"), ["mx:25"], "a smart host called mx");
});

test("shardOf() takes any name for what it is: a client chooses the domain that a provisional site is called after", () => {
  for (const site of [
    "~",
    "a~b.example",
    "a~999",
    "~3",
    "a~1~2",
    "a~-1",
    "a~1e3",
    "+",
    "a+",
    "+~1",
    "\u{1f6a2}~5",
  ]) {
    const shard = shardOf(site, 8);
    assert.ok(Number.isInteger(shard) && shard >= 0 && shard < 8, `${site}: ${shard}`);
  }
});

test("isSiteWithin() is true of a site and of its slices", () => {
  for (const [site, selected, expected] of [
    ["hot", "hot", true],
    ["hot~0", "hot", true],
    ["hot~12", "hot", true],
    ["hot~1", "hot~1", true],
    ["hot~1", "hot~2", false],
    ["hot~x", "hot", false],
    ["hotter", "hot", false],
    ["hot", "hot~1", false],
    ["~", "", false],
  ] as const)
    assert.equal(isSiteWithin(site, selected), expected, `${site} within ${selected}`);
});
