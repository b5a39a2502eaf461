import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createInFlight, type InFlight } from "#mta-pod/in-flight.ts";
import type { Entry } from "#mta-pod/schedule/types.ts";

const bounds = { entries: 100, bytes: 1000 };

let lastSeq = 0;
function entry(size = 1, shard = 0): Entry {
  const seq = ++lastSeq;
  return { shard, seq, idHash: 0, size, receivedAt: 0, expiresAt: 0, due: 0, attempt: 0 };
}

/** Begins as many of the site as may; returns their ends. */
function fill(inFlight: InFlight, site: string, size = 1): (() => void)[] {
  const ends: (() => void)[] = [];
  while (inFlight.hasRoom() && inFlight.hasRoomFor(site, size)) ends.push(inFlight.begin(entry(size), site));
  return ends;
}

describe("createInFlight()", () => {
  test("one site alone has a fifth, the next a fifth of what is left, and there is room for more", () => {
    const inFlight = createInFlight(bounds);
    assert.equal(fill(inFlight, "a").length, 20);
    assert.equal(fill(inFlight, "b").length, 16);
    assert.ok(inFlight.hasRoom() && inFlight.hasRoomFor("c", 1));
  });

  test("what ends makes room for the others, and for the site itself", () => {
    const inFlight = createInFlight(bounds);
    const [first] = fill(inFlight, "a");
    assert.equal(inFlight.hasRoomFor("a", 1), false);
    first?.();
    assert.ok(inFlight.hasRoomFor("a", 1));
  });

  test("large messages are shared by their bytes: half for one site", () => {
    const inFlight = createInFlight(bounds);
    assert.equal(fill(inFlight, "a", 100).length, 5);
    assert.equal(fill(inFlight, "b", 100).length, 2);
    assert.ok(inFlight.hasRoom() && inFlight.hasRoomFor("c", 100));
  });

  test("a site that has nothing under way may begin one, however large, while there is room at all", () => {
    const inFlight = createInFlight(bounds);
    assert.ok(inFlight.hasRoomFor("a", 5000));
    const end = inFlight.begin(entry(5000), "a");
    assert.equal(inFlight.hasRoom(), false);
    end();
    assert.ok(inFlight.hasRoom() && inFlight.hasRoomFor("a", 1));
  });

  test("an end counts once, and what is under way of a shard is known", () => {
    const inFlight = createInFlight(bounds);
    const one = entry(1, 3);
    const end = inFlight.begin(one, "a");
    assert.ok(inFlight.has(one));
    assert.deepEqual([...inFlight.of(3)], [one.seq]);
    end();
    end();
    assert.equal(inFlight.count(), 0);
    assert.equal(inFlight.has(one), false);
    assert.deepEqual([...inFlight.of(3)], []);
  });

  test("twenty sites that want five each and never end leave room for the next; without shares they would take all", () => {
    const inFlight = createInFlight(bounds);
    for (let site = 0; site < 20; site++)
      for (let mail = 0; mail < 5 && inFlight.hasRoomFor(`site${site}`, 1); mail++)
        inFlight.begin(entry(), `site${site}`);
    assert.ok(inFlight.hasRoom() && inFlight.hasRoomFor("the next", 1));
  });
});
