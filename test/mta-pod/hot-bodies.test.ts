import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { HotBodies, type HotBody } from "#mta-pod/hot-bodies.ts";
import { envelope } from "#test/kit/spool.ts";

const message = (body: Buffer): HotBody => ({ envelope: envelope(), body, since: 0, subject: "mb.q" });

describe("HotBodies", () => {
  test("gives a body to the first who takes it, once", () => {
    const hot = new HotBodies();
    const body = Buffer.from("mail");
    hot.put(7, message(body));
    assert.equal(hot.take(7)?.body, body);
    assert.equal(hot.take(7), undefined);
    assert.equal(hot.take(8), undefined);
  });

  test("holds so much at most, and takes more once some were taken", () => {
    const hot = new HotBodies();
    const body = Buffer.alloc(1024 * 1024);
    for (let handle = 0; handle < 100; handle++) hot.put(handle, message(body));
    const held = Array.from({ length: 100 }, (_, handle) => hot.take(handle) !== undefined);
    const count = held.filter(Boolean).length;
    assert.ok(count > 10 && count < 100, String(count));
    assert.ok(held.slice(0, count).every(Boolean), "the first are kept, the rest is fetched");
    hot.put(100, message(body));
    assert.ok(hot.take(100));
  });

  test("says once that it is full, and once that there is room", () => {
    const said: string[] = [];
    const hot = new HotBodies({ full: () => said.push("full"), roomy: () => said.push("roomy") });
    const body = Buffer.alloc(1024 * 1024);
    for (let handle = 0; handle < 100; handle++) hot.put(handle, message(body));
    for (let handle = 0; handle < 100; handle++) hot.take(handle);
    for (let handle = 0; handle < 100; handle++) hot.put(handle, message(body));
    hot.clear();
    assert.deepEqual(said, ["full", "roomy", "full", "roomy"]);
    assert.equal(hot.share, 0);
  });

  test("clear() gives all of the room back", () => {
    const hot = new HotBodies();
    const body = Buffer.alloc(1024 * 1024);
    for (let handle = 0; handle < 100; handle++) hot.put(handle, message(body));
    hot.clear();
    assert.equal(hot.take(1), undefined);
    hot.put(100, message(body));
    assert.ok(hot.take(100));
  });
});
