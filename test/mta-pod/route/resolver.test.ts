import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createResolver } from "#mta-pod/route/resolver.ts";
import { startDnsServer } from "#test/kit/dns-server.ts";
import type { DnsServer } from "#test/kit/dns-server.ts";

const many = Array.from({ length: 60 }, (_, index) => `198.51.100.${index + 1}`);
let dns: DnsServer;

before(async () => {
  dns = await startDnsServer({
    "a.example": {
      MX: [
        [20, "MX2.A.example"],
        [10, "mx1.a.example"],
      ],
      A: ["192.0.2.1"],
      AAAA: ["2001:db8::1"],
      ttl: 77,
    },
    "null.example": { MX: [[0, "."]] },
    "nomx.example": { A: ["192.0.2.9"] },
    "many.example": { A: many },
    "cut.example": { MX: [[5, "mx.cut.example"]], fault: "truncate" },
    "broken.example": { fault: "servfail" },
    "refused.example": { fault: "refused" },
    "silent.example": { fault: "drop" },
    "half.example": { A: ["192.0.2.7"], fault: "servfail", faultTypes: ["AAAA"] },
    "alias.example": { CNAME: "a.example" },
  });
});
after(() => dns.close());

const resolverOf = (timeoutMs = 5000) => createResolver({ servers: [dns.address], timeoutMs });

test("mx() gives host names in lower case with their preferences", async () => {
  const answer = await resolverOf().mx("a.example");
  assert.equal(answer.kind, "found");
  assert.deepEqual(
    answer.kind === "found" && [...answer.records].sort((l, r) => l.preference - r.preference),
    [
      { host: "mx1.a.example", preference: 10 },
      { host: "mx2.a.example", preference: 20 },
    ],
  );
});

test("mx() gives a null MX as an empty host name", async () => {
  assert.deepEqual(await resolverOf().mx("null.example"), {
    kind: "found",
    records: [{ host: "", preference: 0 }],
  });
});

test("mx() tells a name without MX from a name that does not exist", async () => {
  assert.deepEqual(await resolverOf().mx("nomx.example"), { kind: "none", isName: true });
  assert.deepEqual(await resolverOf().mx("absent.example"), { kind: "none", isName: false });
});

test("mx() takes a name that cannot be asked for as one that does not exist", async () => {
  assert.deepEqual(await resolverOf().mx(`${"a".repeat(64)}.example`), { kind: "none", isName: false });
});

for (const name of ["broken.example", "refused.example"])
  test(`mx() and addresses() of ${name} fail`, async () => {
    assert.equal((await resolverOf().mx(name)).kind, "failed");
    assert.equal((await resolverOf().addresses(name)).kind, "failed");
  });

test("mx() without any answer fails within its bound", async () => {
  const started = performance.now();
  assert.equal((await resolverOf(300).mx("silent.example")).kind, "failed");
  assert.ok(performance.now() - started < 3000);
});

test("mx() asks by TCP what does not fit a datagram", async () => {
  const answer = await resolverOf().mx("cut.example");
  assert.deepEqual(answer, { kind: "found", records: [{ host: "mx.cut.example", preference: 5 }] });
  const large = await resolverOf().addresses("many.example");
  assert.equal(large.kind === "found" && large.records.length, 60);
});

test("addresses() joins both families and keeps their TTL", async () => {
  assert.deepEqual(await resolverOf().addresses("a.example"), {
    kind: "found",
    records: [
      { address: "192.0.2.1", family: 4, ttl: 77 },
      { address: "2001:db8::1", family: 6, ttl: 77 },
    ],
  });
});

test("addresses() is content with one family when the other fails", async () => {
  const answer = await resolverOf().addresses("half.example");
  assert.deepEqual(answer.kind === "found" && answer.records.map((record) => record.address), ["192.0.2.7"]);
});

test("addresses() follows an alias", async () => {
  const answer = await resolverOf().addresses("alias.example");
  assert.equal(answer.kind === "found" && answer.records.length, 2);
});

test("addresses() of localhost asks nobody", async () => {
  const answer = await resolverOf().addresses("localhost");
  assert.equal(answer.kind === "found" && answer.records[0]?.address, "127.0.0.1");
  assert.equal(dns.count("localhost"), 0);
});

test("a resolver goes on with the next server when one is away", async () => {
  const gone = await startDnsServer({});
  await gone.close();
  const resolver = createResolver({ servers: [gone.address, dns.address] });
  assert.equal((await resolver.mx("a.example")).kind, "found");
});
