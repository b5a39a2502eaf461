import assert from "node:assert/strict";
import { test } from "node:test";
import type { Rule } from "#crds/pod-config/schema.ts";
import { sharedPlaces } from "#crds/wire/subject.ts";
import { createRouter } from "#mta-pod/route/router.ts";
import type { Routed, SiteRoute } from "#mta-pod/route/router.ts";
import { fakeClock, fakeResolver } from "./fake-resolver.ts";
import type { FakeZone } from "./fake-resolver.ts";

function rule(name: string, match: Partial<Rule["match"]>, rest: Partial<Rule> = {}): Rule {
  return {
    name: `mail/shapes/${name}`,
    provider: name,
    match: { domains: [], mxSuffixes: [], ...match },
    limits: {},
    timeouts: { connectMs: 1, bannerMs: 1, commandMs: 1, dataMs: 1, finalMs: 1 },
    tls: { mode: "Opportunistic" },
    retry: {},
    routes: [],
    ...rest,
  };
}

const relay = { routes: [{ host: "127.0.0.1", port: 2599 }] };

function routerOf(zones: Record<string, FakeZone>, rules: Rule[] = [], allow: string[] = []) {
  const resolver = fakeResolver(zones);
  const clock = fakeClock();
  const router = createRouter({ resolver, clock, random: () => 0 });
  router.configure(rules, allow);
  return { router, resolver, clock };
}

function siteIn(routed: Routed | undefined): SiteRoute {
  if (routed?.kind !== "site") throw new Error(`expected a site, got ${JSON.stringify(routed)}`);
  return routed.site;
}

const zones: Record<string, FakeZone> = {
  "a.example": {
    mx: [
      [20, "mx2.a.example"],
      [10, "mx1.a.example"],
    ],
  },
  "b.example": {
    mx: [
      [5, "mx1.a.example"],
      [5, "mx2.a.example"],
    ],
  },
  "orange.example": { mx: [[10, "smtp-in.orange.fr"]] },
  "orange2.example": { mx: [[10, "other-in.orange.fr"]] },
  "backup.example": {
    mx: [
      [10, "slow.backup.example"],
      [20, "smtp-in.orange.fr"],
    ],
  },
  "nomx.example": {},
  "null.example": { mx: [[0, ""]] },
  "mixed-null.example": {
    mx: [
      [0, ""],
      [10, "mx1.a.example"],
    ],
  },
  "literal-mx.example": { mx: [[10, "203.0.113.5"]] },
  "hostile.example": {
    mx: [
      [10, "a\r\nb.example"],
      [10, "x y"],
      [10, `${"a".repeat(64)}.example`],
    ],
  },
  "broken.example": { failed: true },
  "xn--bcher-kva.example": { mx: [[10, "mx1.a.example"]] },
};

test("route() lists the MX hosts by preference, and its site is the same for every domain of these hosts", async () => {
  const { router } = routerOf(zones);
  const a = siteIn(await router.route("a.example"));
  assert.deepEqual(a.hops, [
    { host: "mx1.a.example", port: 25, preference: 10 },
    { host: "mx2.a.example", port: 25, preference: 20 },
  ]);
  assert.equal(a.id, siteIn(await router.route("b.example")).id);
  assert.equal(a.id, "mx:a.example/mx1,mx2");
  assert.equal(a.label, "mx1.a.example");
  assert.equal(a.provider, "mx1.a.example");
  assert.equal(a.rule, null);
});

test("route() takes every spelling of a domain as the same", async () => {
  const { router, resolver } = routerOf(zones);
  const site = siteIn(await router.route("xn--bcher-kva.example"));
  for (const spelling of ["BÜCHER.example", "bücher.example.", "XN--BCHER-KVA.EXAMPLE"])
    assert.equal(siteIn(await router.route(spelling)).id, site.id);
  assert.deepEqual(resolver.asked, ["mx xn--bcher-kva.example"]);
});

const refusals: readonly [string, number, string][] = [
  ["absent.example", 550, "5.1.2"],
  ["null.example", 556, "5.1.10"],
  ["literal-mx.example", 550, "5.4.4"],
  ["hostile.example", 550, "5.4.4"],
  ["a..example", 550, "5.1.2"],
  ["", 550, "5.1.2"],
  ["[999.1.1.1]", 550, "5.1.2"],
];
for (const [domain, code, enhanced] of refusals)
  test(`route() refuses "${domain}" with ${code} ${enhanced}`, async () => {
    const { router } = routerOf(zones);
    const routed = await router.route(domain);
    assert.equal(routed.kind, "refused");
    if (routed.kind !== "refused") return;
    assert.deepEqual([routed.reply.code, routed.reply.enhanced], [code, enhanced]);
    assert.equal(routed.reply.isOurs, true);
  });

test("route() overlooks a null MX beside real ones", async () => {
  const { router } = routerOf(zones);
  assert.deepEqual(
    siteIn(await router.route("mixed-null.example")).hops.map(({ host }) => host),
    ["mx1.a.example"],
  );
});

test("route() makes a domain without MX its own host", async () => {
  const { router } = routerOf(zones);
  assert.deepEqual(siteIn(await router.route("nomx.example")).hops, [
    { host: "nomx.example", port: 25, preference: 0 },
  ]);
});

test("route() sends to an address literal without DNS", async () => {
  const { router, resolver } = routerOf(zones);
  assert.deepEqual(siteIn(router.peek("[192.0.2.1]")).hops, [{ host: "192.0.2.1", port: 25, preference: 0 }]);
  assert.equal(siteIn(router.peek("[IPv6:2001:DB8::1]")).hops[0]?.host, "2001:db8::1");
  assert.deepEqual(resolver.asked, []);
});

test("route() looks at 20 MX hosts at most", async () => {
  const mx = Array.from({ length: 50 }, (_, index) => [index, `mx${index}.many.example`] as const);
  const { router } = routerOf({ "many.example": { mx } });
  const { hops } = siteIn(await router.route("many.example"));
  assert.equal(hops.length, 20);
  assert.equal(hops[0]?.host, "mx0.many.example");
});

test("route() says unknown when DNS fails, and asks again 10 seconds later", async () => {
  const { router, resolver, clock } = routerOf(zones);
  assert.equal((await router.route("broken.example")).kind, "unknown");
  assert.equal((await router.route("broken.example")).kind, "unknown");
  assert.equal(resolver.asked.length, 1);
  resolver.zones = { "broken.example": { mx: [[1, "mx.broken.example"]] } };
  clock.advance(10_000);
  assert.equal((await router.route("broken.example")).kind, "site");
});

for (const [domain, code, seconds] of [
  ["absent.example", 550, 60],
  ["null.example", 556, 300],
] as const)
  test(`route() remembers for ${seconds} s that ${domain} takes no mail, and asks again then`, async () => {
    const { router, resolver, clock } = routerOf(zones);
    const codeOf = (routed: Routed | undefined): number | undefined =>
      routed?.kind === "refused" ? routed.reply.code : undefined;
    assert.equal(codeOf(await router.route(domain)), code);
    resolver.zones = { [domain]: { mx: [[10, "mx1.a.example"]] } };
    clock.advance(seconds * 1000 - 1);
    assert.equal(codeOf(await router.route(domain)), code);
    assert.equal(codeOf(router.peek(domain)), code);
    assert.deepEqual(resolver.asked, [`mx ${domain}`]);
    clock.advance(1);
    assert.equal(router.peek(domain), undefined);
    assert.equal(siteIn(await router.route(domain)).label, "mx1.a.example");
    assert.deepEqual(resolver.asked, [`mx ${domain}`, `mx ${domain}`]);
  });

test("peek() knows what route() found, for 5 minutes", async () => {
  const { router, clock } = routerOf(zones);
  assert.equal(router.peek("a.example"), undefined);
  const site = siteIn(await router.route("a.example"));
  assert.equal(siteIn(router.peek("a.example")).id, site.id);
  clock.advance(299_999);
  assert.notEqual(router.peek("a.example"), undefined);
  clock.advance(1);
  assert.equal(router.peek("a.example"), undefined);
});

test("route() asks one question for many callers", async () => {
  const { router, resolver } = routerOf(zones);
  await Promise.all(Array.from({ length: 50 }, () => router.route("a.example")));
  assert.deepEqual(resolver.asked, ["mx a.example"]);
});

test("configure() applies to domains that are known already, without asking DNS again", async () => {
  const { router, resolver } = routerOf(zones);
  await router.route("a.example");
  router.configure([rule("a", { domains: ["a.example"] })], []);
  assert.equal(siteIn(router.peek("a.example")).rule?.provider, "a");
  assert.equal(resolver.asked.length, 1);
});

test("the first rule that matches wins, by domain or by MX host", async () => {
  const orange = rule("orange", { mxSuffixes: [".orange.fr"] });
  const special = rule("special", { domains: ["orange2.example"], mxSuffixes: [".never.example"] });
  const below = rule("below", { domains: ["*.example"] });
  const { router } = routerOf(zones, [special, orange, below]);
  const providers = await Promise.all(
    ["orange.example", "orange2.example", "a.example"].map(
      async (domain) => siteIn(await router.route(domain)).provider,
    ),
  );
  assert.deepEqual(providers, ["orange", "special", "below"]);
});

test("*.example is what is below example, not example itself", () => {
  const { router } = routerOf({}, [rule("below", { domains: ["*.corp.example"] }, relay)]);
  assert.equal(router.peek("x.corp.example")?.kind, "site");
  assert.equal(router.peek("corp.example"), undefined);
  assert.equal(router.peek("xcorp.example"), undefined);
});

test("a suffix matches whole labels: with a dot what is below, without one the name too", async () => {
  const hosts = {
    "x.example": { mx: [[1, "mail.shop.example"]] },
    "y.example": { mx: [[1, "mail.myshop.example"]] },
  } as const;
  for (const suffix of [".shop.example", "shop.example", "mail.shop.example"]) {
    const { router } = routerOf(hosts, [rule("shop", { mxSuffixes: [suffix] })]);
    assert.equal(siteIn(await router.route("x.example")).provider, "shop", suffix);
    assert.equal(siteIn(await router.route("y.example")).rule, null, suffix);
  }
});

test("a rule with mxSuffixes makes one site of all who are served by its hosts", async () => {
  const { router } = routerOf(zones, [rule("orange", { mxSuffixes: [".orange.fr"] })]);
  const [one, two] = [
    siteIn(await router.route("orange.example")),
    siteIn(await router.route("orange2.example")),
  ];
  assert.equal(one.id, "mail/shapes/orange");
  assert.equal(two.id, one.id);
  assert.notDeepEqual(one.hops, two.hops);
});

test("a backup host at a provider does not make a domain one of the provider's", async () => {
  const { router } = routerOf(zones, [rule("orange", { mxSuffixes: [".orange.fr"] })]);
  assert.equal(siteIn(await router.route("backup.example")).rule, null);
});

test("a rule for some domains has a site apart from other domains of the same hosts; a catch-all rule has not", async () => {
  const plain = siteIn(await routerOf(zones).router.route("a.example")).id;
  const { router } = routerOf(zones, [
    rule("a", { domains: ["a.example"] }),
    rule("all", { domains: ["*"] }),
  ]);
  assert.equal(siteIn(await router.route("a.example")).id, `${plain}+mail/shapes/a`);
  assert.equal(siteIn(await router.route("b.example")).id, plain);
});

test("a rule for some domains at a provider's hosts has a site beside the provider's, whichever rule is first", async () => {
  const vip = rule("vip", { domains: ["orange.example"] });
  const elsewhere = rule("elsewhere", { mxSuffixes: [".orange.fr"] }, relay);
  const orange = rule("orange", { mxSuffixes: [".orange.fr"] });
  const { router } = routerOf(zones, [vip, elsewhere, orange]);
  const { id } = siteIn(await router.route("orange.example"));
  assert.match(id, /^mail\/shapes\/orange\+mail\/shapes\/vip:[a-z2-7]{13}$/);
  // Mail that is sent elsewhere is no mail to the provider's hosts.
  const { router: other } = routerOf(zones, [vip, elsewhere]);
  assert.equal(siteIn(await other.route("orange.example")).id, "mx:orange.fr/smtp-in+mail/shapes/vip");
});

test("a list is its preferred hosts' organisation's: a zone's own slow hosts share nothing with those it names behind them", async () => {
  const google = [
    [1, "aspmx.l.google.com"],
    [5, "alt1.aspmx.l.google.com"],
  ] as const;
  const { router } = routerOf({
    ...zones,
    "new.example": { mx: google },
    "old.example": {
      mx: [...google, [10, "aspmx3.googlemail.com"], [10, "aspmx2.googlemail.com"]],
    },
    "even.example": {
      mx: [
        [10, "slow.even.example"],
        [10, "smtp-in.orange.fr"],
      ],
    },
  });
  const idOf = async (domain: string): Promise<string> => siteIn(await router.route(domain)).id;
  assert.equal(await idOf("orange.example"), "mx:orange.fr/smtp-in");
  assert.match(await idOf("backup.example"), /^mx:backup\.example\/slow,=[a-z2-7]{13}$/);
  assert.match(await idOf("even.example"), /^mx:[a-z2-7]{13}$/);
  assert.equal(await idOf("new.example"), "mx:google.com/alt1.aspmx.l,aspmx.l");
  const old = await idOf("old.example");
  assert.match(old, /^mx:google\.com\/alt1\.aspmx\.l,aspmx\.l,=[a-z2-7]{13}$/);
  assert.deepEqual(sharedPlaces(old), sharedPlaces(await idOf("new.example")));
  const hosted = {
    mx: [
      [1, "evil.duckdns.org"],
      [2, "victim.duckdns.org"],
    ],
  } as const;
  const { router: other } = routerOf({ "evil.duckdns.org": hosted, "victim.duckdns.org": {} });
  const { id } = siteIn(await other.route("evil.duckdns.org"));
  assert.match(id, /^mx:evil\.duckdns\.org\/@,=[a-z2-7]{13}$/, "customers of a hoster");
  assert.equal(siteIn(await other.route("victim.duckdns.org")).id, "mx:victim.duckdns.org/@");
});

test("hosts that a site has from elsewhere say where their connections are counted; its own do not", async () => {
  const list = (...hosts: readonly string[]): FakeZone => ({
    mx: hosts.map((host, at) => [at < 2 ? 10 : 20, host] as const),
  });
  const { router } = routerOf(
    {
      "own.example": list("a.own.example", "b.own.example"),
      "backup.example": list("a.backup.example", "b.backup.example", "mx.isp.example", "smtp-in.orange.fr"),
      "even.example": list("a.even.example", "a.odd.example"),
      "served.example": list("smtp-in.orange.fr", "smtp-in.orange.fr", "mx.served.example"),
      "big.example": list("mx1.big.example", "mx2.big.example"),
      "sliced.example": list("a.sliced.example", "b.sliced.example", "mx.big.example"),
    },
    [
      rule("orange", { mxSuffixes: ["orange.fr"] }),
      rule("big", { mxSuffixes: ["big.example"] }, { slices: [{ connections: 1 }, { connections: 1 }] }),
      rule(
        "relays",
        { domains: ["relayed.example"] },
        {
          routes: [
            { host: "relay.example", port: 25 },
            { host: "other.example", port: 2525 },
          ],
        },
      ),
      rule("rest", { domains: ["*"] }),
    ],
  );
  const homes = async (domain: string): Promise<(string | undefined)[]> =>
    siteIn(await router.route(domain)).hops.map(({ home }) => home);
  assert.deepEqual(await homes("own.example"), [undefined, undefined]);
  assert.deepEqual(await homes("backup.example"), [
    undefined,
    undefined,
    "mx:isp.example/mx",
    "mail/shapes/orange",
  ]);
  assert.deepEqual(await homes("even.example"), ["mx:even.example/a", "mx:odd.example/a"]);
  assert.deepEqual(await homes("served.example"), [undefined, "mx:served.example/mx"]);
  assert.deepEqual(
    await homes("sliced.example"),
    [undefined, undefined, "mail/shapes/big~0"],
    "the first slice lets them in",
  );
  assert.deepEqual(await homes("big.example"), [undefined, undefined], "its own mail asks nobody");
  assert.deepEqual(await homes("relayed.example"), [undefined, "other.example:2525"]);
});

test("a rule with routes needs no DNS and its site is the first route", () => {
  const { router, resolver } = routerOf(zones, [rule("relay", { domains: ["*"] }, relay)]);
  const site = siteIn(router.peek("whatever.example"));
  assert.equal(site.id, "127.0.0.1:2599");
  assert.deepEqual(site.hops, [{ host: "127.0.0.1", port: 2599, preference: 0 }]);
  assert.deepEqual(resolver.asked, []);
});

test("two rules with the same route have sites of their own, since their limits may differ", () => {
  const rules = [rule("one", { domains: ["one.example"] }, relay), rule("two", { domains: ["*"] }, relay)];
  const { router } = routerOf(zones, rules);
  assert.equal(siteIn(router.peek("one.example")).id, "127.0.0.1:2599");
  assert.equal(siteIn(router.peek("x.example")).id, "127.0.0.1:2599+mail/shapes/two");
});

test("a smart host behind a rule for MX hosts gets what does not exist in DNS, but not what DNS fails to tell", async () => {
  const rules = [rule("orange", { mxSuffixes: [".orange.fr"] }), rule("relay", { domains: ["*"] }, relay)];
  const { router } = routerOf({ ...zones, "broken.com": { failed: true } }, rules);
  assert.equal(siteIn(await router.route("orange.example")).provider, "orange");
  for (const domain of ["absent.com", "null.example", "a.example"])
    assert.equal(siteIn(await router.route(domain)).provider, "relay", domain);
  assert.equal((await router.route("broken.com")).kind, "unknown");
  // Names that no public server can know (RFC 6761): demos and tests work without any DNS.
  assert.equal(siteIn(await router.route("broken.example")).provider, "relay");
});
