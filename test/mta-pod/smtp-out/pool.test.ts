import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { silentLog } from "#mta-pod/runtime/log.ts";
import type { Connection } from "#mta-pod/smtp-out/connection.ts";
import { createPool } from "#mta-pod/smtp-out/pool.ts";

class FakeConnection implements Connection {
  readonly facts = undefined;
  readonly sent = 0;
  readonly committed = false;
  idle = true;
  end: "" | "closed" | "destroyed" = "";
  send(): void {}
  close(): void {
    this.idle = false;
    this.end = "closed";
  }
  destroy(): void {
    this.idle = false;
    this.end = "destroyed";
  }
}

function pool(t: TestContext) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let now = 0;
  const closed: string[] = [];
  const created = createPool({
    clock: { now: () => now, monotonic: () => now },
    log: silentLog,
    idleMs: 1000,
    onIdleClosed: (key) => closed.push(key),
  });
  const pass = (ms: number) => {
    for (let at = 0; at < ms; at += 50) {
      now += 50;
      t.mock.timers.tick(50);
    }
  };
  return { created, closed, pass };
}

test("take() gives the one that waited least, of its key only", (t) => {
  const { created } = pool(t);
  const [a, b] = [new FakeConnection(), new FakeConnection()];
  created.give("x", a);
  created.give("x", b);
  assert.equal(created.size("x"), 2);
  assert.equal(created.take("y"), undefined);
  assert.equal(created.take("x"), b);
  assert.equal(created.take("x"), a);
  assert.equal(created.take("x"), undefined);
});

test("give() does not keep, and take() does not give, what is not idle", (t) => {
  const { created } = pool(t);
  const [gone, lost, good] = [new FakeConnection(), new FakeConnection(), new FakeConnection()];
  gone.idle = false;
  created.give("x", gone);
  created.give("x", good);
  created.give("x", lost);
  lost.idle = false;
  assert.equal(created.size("x"), 1);
  assert.equal(created.take("x"), good);
  assert.equal(created.remove("x", gone), false);
  assert.equal(created.remove("x", lost), true);
  assert.equal(created.remove("x", lost), false);
});

test("connections are closed when they have waited for idleMs, each at its own time", (t) => {
  const { created, closed, pass } = pool(t);
  const [a, b] = [new FakeConnection(), new FakeConnection()];
  created.give("x", a);
  pass(600);
  created.give("y", b);
  pass(350);
  assert.equal(a.end, "");
  pass(150);
  assert.equal(a.end, "closed");
  assert.equal(b.end, "");
  pass(600);
  assert.equal(b.end, "closed");
  assert.deepEqual(closed, ["x", "y"]);
  assert.equal(created.remove("x", a), true, "one that the pool closed was closed while idle");
});

test("one that is taken and given again waits anew", (t) => {
  const { created, pass } = pool(t);
  const a = new FakeConnection();
  created.give("x", a);
  pass(900);
  assert.equal(created.take("x"), a);
  created.give("x", a);
  pass(900);
  assert.equal(a.end, "");
  pass(250);
  assert.equal(a.end, "closed");
});

test("closeOne() closes the one that waited longest under a prefix", (t) => {
  const { created, pass } = pool(t);
  const [a, b, other] = [new FakeConnection(), new FakeConnection(), new FakeConnection()];
  created.give("s|1|m2", a);
  pass(100);
  created.give("s|1|m1", b);
  created.give("s|11|m1", other);
  assert.equal(created.closeOne("s|1"), true);
  assert.equal(a.end, "closed");
  assert.equal(created.closeOne("s|1"), true);
  assert.equal(b.end, "closed");
  assert.equal(created.closeOne("s|1"), false);
  assert.equal(other.end, "");
});

test("closeIdle() says goodbye, destroyAll() cuts off", (t) => {
  const { created } = pool(t);
  const [a, b, c] = [new FakeConnection(), new FakeConnection(), new FakeConnection()];
  created.give("x", a);
  created.give("y", b);
  created.give("z", c);
  created.closeIdle("x");
  assert.deepEqual([a.end, b.end], ["closed", ""]);
  created.closeIdle();
  assert.equal(b.end, "closed");
  const d = new FakeConnection();
  created.give("x", d);
  created.destroyAll();
  assert.equal(d.end, "destroyed");
});
