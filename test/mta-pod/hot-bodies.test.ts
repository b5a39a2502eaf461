import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { HotBodies } from "#mta-pod/hot-bodies.ts";
import { envelope } from "#test/kit/spool.ts";

describe("HotBodies", () => {
  test("gives a body to the first who takes it, once", () => {
    const hot = new HotBodies();
    const body = Buffer.from("mail");
    hot.put(7, envelope(), body);
    assert.equal(hot.take(7)?.body, body);
    assert.equal(hot.take(7), undefined);
    assert.equal(hot.take(8), undefined);
  });

  test("holds 64 MiB at most, and takes more once some were taken", () => {
    const hot = new HotBodies();
    const body = Buffer.alloc(16 * 1024 * 1024);
    for (let handle = 0; handle < 5; handle++) hot.put(handle, envelope(), body);
    assert.equal(hot.take(4), undefined, "the fifth is fetched instead");
    assert.ok(hot.take(0));
    hot.put(5, envelope(), body);
    assert.ok(hot.take(5));
  });

  test("clear() gives all of the room back", () => {
    const hot = new HotBodies();
    const body = Buffer.alloc(64 * 1024 * 1024);
    hot.put(1, envelope(), body);
    hot.clear();
    assert.equal(hot.take(1), undefined);
    hot.put(2, envelope(), body);
    assert.ok(hot.take(2));
  });
});
