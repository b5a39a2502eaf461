import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Envelope } from "#crds/wire/envelope.ts";
import { RecentIds } from "#mta-pod/recent-ids.ts";
import { envelope } from "#test/kit/spool.ts";

const minuteMs = 60_000;

describe("RecentIds", () => {
  test("knows what was settled for an hour at least, and forgets it within three", () => {
    const recent = new RecentIds();
    const mail = envelope({ id: "a" });
    recent.settled(mail, 0);
    for (let minute = 1; minute <= 60; minute++) {
      recent.settled(envelope({ id: `other ${minute}` }), minute * minuteMs);
      assert.ok(recent.wasSettled(mail), `after ${minute} min`);
    }
    for (let minute = 61; minute <= 180; minute++)
      recent.settled(envelope({ id: `other ${minute}` }), minute * minuteMs);
    assert.equal(recent.wasSettled(mail), false);
  });

  test("of more than it has room for it keeps the last 260,000", () => {
    const recent = new RecentIds();
    const mail = (count: number): Envelope => envelope({ id: `01jz${count}` });
    for (let count = 0; count < 900_000; count++) recent.settled(mail(count), count / 10);
    for (let count = 640_000; count < 900_000; count += 997) assert.ok(recent.wasSettled(mail(count)));
    assert.equal(recent.wasSettled(mail(0)), false);
  });

  test("what was settled long ago is known until what is settled now takes its room", () => {
    const [teller, recent] = [new RecentIds(), new RecentIds()];
    const mail = envelope({ id: "old" });
    teller.settled(mail, 0, (one, two) => recent.heardOld(one, two));
    assert.ok(recent.wasSettled(mail));
    recent.settled(envelope({ id: "new" }), 1);
    assert.ok(recent.wasSettled(mail));
    for (let hour = 1; hour <= 3; hour++) recent.settled(envelope({ id: `${hour}` }), hour * 61 * minuteMs);
    assert.equal(recent.wasSettled(mail), false);
  });

  test("tells the children of one parent apart by site and by all of their recipients", () => {
    const recent = new RecentIds();
    recent.settled(envelope({ id: "a", site: "one", to: ["x@one.example"] }), 0);
    assert.ok(recent.wasSettled(envelope({ id: "a", site: "one", to: ["x@one.example"] })));
    assert.equal(recent.wasSettled(envelope({ id: "a", site: "two", to: ["x@one.example"] })), false);
    assert.equal(recent.wasSettled(envelope({ id: "a", site: "one", to: ["y@one.example"] })), false);
    assert.equal(recent.wasSettled(envelope({ id: "b", site: "one", to: ["x@one.example"] })), false);
    const both = envelope({ id: "a", site: "one", to: ["x@one.example", "y@one.example"] });
    assert.equal(recent.wasSettled(both), false);
    recent.settled(both, 0);
    assert.ok(recent.wasSettled(both));
    assert.equal(recent.wasSettled({ ...both, moves: 2 }), false, "it moved there and back");
  });

  test("what one pod tells, another knows", () => {
    const mail = envelope({ id: "a" });
    const [here, there] = [new RecentIds(), new RecentIds()];
    here.settled(mail, 0, (one, two) => there.heard(one, two, 0));
    assert.ok(there.wasSettled(mail));
    assert.equal(there.wasSettled(envelope({ id: "b" })), false);
  });

  test("no two of 300,000 messages meet", () => {
    const recent = new RecentIds();
    for (let count = 0; count < 300_000; count++) {
      const mail = envelope({ id: `01jz00000000000000${count.toString(32).padStart(8, "0")}` });
      assert.equal(recent.wasSettled(mail), false);
      recent.settled(mail, 0);
    }
  });
});
