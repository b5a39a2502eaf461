import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { createIdMaker, timeOfId } from "#mta-pod/runtime/message-id.ts";

describe("createIdMaker()", () => {
  test("makes 26 characters that are safe in a URL and a header", () => {
    assert.match(createIdMaker(() => 1_700_000_000_000)(), /^[0-9a-hjkmnp-tv-z]{26}$/);
  });

  test("ids of one process sort by time, then by count", () => {
    let time = 1_700_000_000_000;
    const newId = createIdMaker(() => time);
    const ids: string[] = [];
    for (let count = 0; count < 5000; count++) {
      if (count % 7 === 0) time++;
      ids.push(newId());
    }
    assert.deepEqual(ids.toSorted(), ids);
    assert.equal(new Set(ids).size, ids.length);
  });

  test("ids of many processes in the same millisecond do not meet", () => {
    const ids = Array.from({ length: 2000 }, () => createIdMaker(() => 1_700_000_000_000)());
    assert.equal(new Set(ids.map((id) => id.slice(10, 19))).size, ids.length);
  });
});

describe("timeOfId()", () => {
  test("reads back the time, in either case", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 48 - 1 }), (time) => {
        const id = createIdMaker(() => time)();
        assert.equal(timeOfId(id), time);
        assert.equal(timeOfId(id.toUpperCase()), time);
      }),
    );
  });

  for (const text of ["", "01jz", "u".repeat(26), `é${"0".repeat(25)}`, "0".repeat(27)])
    test(`knows that "${text}" is none of ours`, () => assert.ok(Number.isNaN(timeOfId(text))));
});
