import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { covers } from "#crds/wire/selection.ts";
import { createSuspensions, type Suspension, type Suspensions } from "#mta-pod/spool/suspensions.ts";
import { openBucket } from "#mta-pod/spool/bucket.ts";
import { startTestNats } from "#test/kit/nats-server.ts";
import { eventually, startTestSpool, type TestSpool } from "#test/kit/spool.ts";

let nats: Awaited<ReturnType<typeof startTestNats>>;
before(async () => {
  nats = await startTestNats();
});
after(() => nats[Symbol.asyncDispose]());

interface Watching extends AsyncDisposable {
  readonly spool: TestSpool;
  readonly suspensions: Suspensions;
  /** What stands, as the handlers told it. */
  readonly told: Map<string, Suspension>;
}

const named = ({ tenant = "*", site = "*" }: { tenant?: string; site?: string }): string =>
  `${tenant}@${site}`;

async function watch(pool: string, pod: string): Promise<Watching> {
  const spool = await startTestSpool(nats.url, { pool, pod });
  const told = new Map<string, Suspension>();
  const suspensions = createSuspensions(spool, {
    onSuspended: (one) => void told.set(named(one), one),
    onLifted: (one) => void told.delete(named(one)),
  });
  await suspensions.start();
  return { spool, suspensions, told, [Symbol.asyncDispose]: () => spool.close() };
}

const by = { by: "pod-0", at: 1_700_000_000_000 };

test("a suspension holds at every pod, at one that comes later, and until it is lifted anywhere", async () => {
  await using first = await watch("mail/s1", "pod-0");
  await using second = await watch("mail/s1", "pod-1");
  const stated = await first.suspensions.suspend({ tenant: "mail/a", ...by });
  assert.equal(stated.kind, "stated");
  await first.suspensions.suspend({ tenant: "mail/a", site: "s", ...by });
  await first.suspensions.suspend({ site: "t", until: by.at + 60_000, ...by });
  for (const { told } of [first, second])
    await eventually("all three", () => told.size === 3 && told.get("*@t")?.until === by.at + 60_000);
  await using third = await watch("mail/s1", "pod-2");
  assert.deepEqual([...third.told.keys()].sort(), ["*@t", "mail/a@*", "mail/a@s"]);
  const lifted = await third.suspensions.lift({ tenant: "mail/a" });
  assert.deepEqual(lifted.kind === "stated" && lifted.count, 2);
  for (const { told } of [first, second, third])
    await eventually("only the site's", () => [...told.keys()].join() === "*@t");
  assert.ok(lifted.kind === "stated" && first.suspensions.seen() >= lifted.revision);
});

test("lift({}) lifts all at once, also what this pod has not seen yet, and nothing twice", async () => {
  await using first = await watch("mail/s2", "pod-0");
  const suspends = [{ tenant: "a" }, { tenant: "b" }, { site: "s" }].map((one) =>
    first.suspensions.suspend({ ...one, ...by }),
  );
  await Promise.all(suspends);
  await using second = await watch("mail/s2", "pod-1");
  const lifted = await second.suspensions.lift({});
  assert.equal(lifted.kind === "stated" && lifted.count, 3);
  const again = await first.suspensions.lift({});
  assert.equal(again.kind === "stated" && again.count, 0);
  await eventually("none", () => first.told.size === 0);
});

test("a key that nobody can read suspends nothing and hurts nothing", async () => {
  await using first = await watch("mail/s3", "pod-0");
  const bucket = openBucket(first.spool);
  await bucket.write("suspend.zzz", '{"v":9,"tenant":"a"}', 0);
  await bucket.write("suspend.zzy", "nonsense", 0);
  await first.suspensions.suspend({ tenant: "b", ...by });
  await eventually("the good one", () => first.told.size === 1);
  assert.deepEqual(first.suspensions.list(), [{ tenant: "b", ...by }]);
});

test("what was lifted while a pod was cut off is lifted there when it is back", async () => {
  await using own = await startTestNats();
  const spool = await startTestSpool(own.url, { pool: "mail/s4" });
  await using _closing = { [Symbol.asyncDispose]: () => spool.close() };
  const lifted: string[] = [];
  const suspensions = createSuspensions(spool, {
    onSuspended: () => {},
    onLifted: (one) => lifted.push(named(one)),
  });
  await suspensions.start();
  await suspensions.suspend({ tenant: "a", ...by });
  await eventually("it to stand", () => suspensions.list().length === 1);
  await own.restart();
  const stated = await suspensions.lift({ tenant: "a" });
  assert.equal(stated.kind, "stated");
  await eventually("it to be lifted", () => lifted.length === 1);
});

test("a suspension of messages stands beside that of all mail, and a release that does not know it cannot take it for one", async () => {
  await using first = await watch("mail/messages", "pod-0");
  await first.suspensions.suspend({ tenant: "a", ...by });
  await first.suspensions.suspend({ tenant: "a", domain: "x.example", ...by });
  await first.suspensions.suspend({ id: "m1", ...by });
  const texts = new Map<string, string>();
  const feed = openBucket(first.spool).watch(
    ({ key, text = "" }) => void (key.startsWith("suspend.") && texts.set(key, text)),
    () => {},
  );
  await eventually("all three", () => texts.size === 3 && first.suspensions.list().length === 3);
  feed.close();
  const versions = [...texts.values()].map((text) => (JSON.parse(text) as { v: number }).v);
  assert.deepEqual(
    versions.toSorted((one, other) => one - other),
    [1, 2, 2],
  );
  const lifted = await first.suspensions.lift({ domain: "x.example" });
  assert.equal(lifted.kind === "stated" && lifted.count, 1);
  await eventually("the others", () => first.suspensions.list().length === 2);
});

test("covers() compares selections", () => {
  const cases = [
    [{}, { tenant: "a", site: "s" }, true],
    [{ tenant: "a" }, { tenant: "a", site: "s" }, true],
    [{ tenant: "a" }, { site: "s" }, false],
    [{ tenant: "a", site: "s" }, { tenant: "a" }, false],
    [{ site: "s" }, {}, false],
    [{ site: "s" }, { tenant: "a", site: "s~3" }, true],
    [{ site: "s~3" }, { tenant: "a", site: "s" }, false],
    [{ tenant: "a" }, { tenant: "a", domain: "x" }, true],
    [{ tenant: "a" }, { domain: "x" }, false],
    [{ domain: "x" }, { tenant: "a", domain: "x", id: "1" }, true],
    [{ domain: "x" }, { domain: "y" }, false],
    [{ id: "1" }, { tenant: "a" }, false],
  ] as const;
  for (const [outer, inner, expected] of cases) assert.equal(covers(outer, inner), expected);
});
