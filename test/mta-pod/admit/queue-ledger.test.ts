import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  claim,
  type Claim,
  type Claimed,
  type Ledger,
  ledgerOf,
  podCountOf,
  textOf,
  weightOf,
} from "#mta-pod/admit/queue-ledger.ts";

const self = { pod: "pod-0", incarnation: "a" };
const other = { pod: "pod-1", incarnation: "b", number: 4, most: 10 };
const ledger: Ledger = { known: 20, marks: [7, 9], grants: [other] };
const asked: Claim = {
  self,
  limit: 100,
  shards: 2,
  pods: 2,
  wanted: 1,
  first: 1,
  stored: 0,
  kept: 0,
  marks: new Map(),
  counts: undefined,
  isRestored: false,
  isOver: () => false,
};

function claimed(of: Ledger | undefined, by: Partial<Claim>): Extract<Claimed, { kind: "claimed" }> {
  const answer = claim(of, { ...asked, ...by });
  assert.ok(answer.kind === "claimed");
  return answer;
}

/** Everything in two answers; shard 1 has come to `seq`. */
const answers = (seq: number, marks: readonly (readonly [number, number])[] = []) => [
  { count: 3, through: [[0, 7] as const], marks },
  { count: 2, through: [[1, seq] as const], marks: [] },
];

describe("a claim", () => {
  test("leaves what is known, what others were granted and what it keeps out of what is free", () => {
    const answer = claimed(ledger, { kept: 5, stored: 2, marks: new Map([[1, 12]]) });
    assert.deepEqual([answer.free, answer.block], [100 - 22 - 10 - 5, 5]);
    assert.deepEqual(answer.ledger, {
      known: 22,
      marks: [7, 12],
      grants: [other, { ...self, number: 1, most: 10 }],
    });
  });

  test("takes a count for what is known only when it has come to every mark: the ledger's, its own and the pods'", () => {
    assert.equal(claimed(ledger, { counts: answers(9) }).ledger.known, 5);
    const behind: Partial<Claim>[] = [
      { counts: answers(8) },
      { counts: answers(9), marks: new Map([[1, 10]]) },
      { counts: answers(9, [[1, 10]]) },
      { counts: answers(9).slice(0, 1) },
    ];
    for (const by of behind) {
      const answer = claimed(ledger, { ...by, stored: 1 });
      assert.deepEqual([answer.ledger.known, answer.isWhole], [21, false]);
    }
  });

  test("of a store that was set back passes over the ledger's marks, but never counts in part", () => {
    assert.equal(claimed(ledger, { counts: answers(1), isRestored: true }).ledger.known, 5);
    assert.equal(claimed(ledger, { counts: answers(1).slice(1), isRestored: true }).ledger.known, 20);
  });

  test("passes over a grant that is over only with a whole count, which has what was stored under it", () => {
    const isOver = (): boolean => true;
    assert.deepEqual(claimed(ledger, { isOver }).ledger.grants[0], other);
    assert.deepEqual(claimed(ledger, { isOver, counts: answers(8) }).ledger.grants[0], other);
    const dropped = claimed(ledger, { isOver, counts: answers(9) });
    assert.deepEqual(dropped.ledger.grants, [{ ...self, number: 1, most: dropped.block }]);
  });

  test("takes single messages at the end, nothing above it, and gives back what it does not keep", () => {
    const near = { known: 88, marks: [0, 0], grants: [other] };
    assert.equal(claimed(near, { wanted: 50 }).block, 1);
    assert.equal(claimed(near, { wanted: 50, first: 3 }).block, 0);
    assert.equal(claimed({ ...near, known: 200 }, {}).block, 0);
    const own = { ...ledger, grants: [other, { ...self, number: 1, most: 10 }] };
    const back = claimed(own, { wanted: 0, first: 0, stored: 4 });
    assert.deepEqual(back.ledger, { known: 24, marks: [7, 9], grants: [other] });
    assert.equal(claimed({ ...near, known: 90 }, {}).isNews, false);
  });

  test("without a ledger needs a whole count", () => {
    assert.equal(claim(undefined, asked).kind, "unknown");
    assert.equal(claim(undefined, { ...asked, counts: answers(9).slice(1) }).kind, "unknown");
    assert.equal(claimed(undefined, { counts: answers(9) }).ledger.known, 5);
  });
});

test("a ledger is read as it was written, and what is none is none", () => {
  assert.deepEqual(ledgerOf(textOf(ledger)), ledger);
  for (const text of [undefined, "", "{}", "[2,0,[],[]]", "[1,-1,[],[]]", '[1,0,["x"],[]]', "[1,0,[],[[1]]]"])
    assert.equal(ledgerOf(text), undefined, text ?? "nothing");
});

test("an answer that is no count is left out", () => {
  const count = { count: 1, through: [[0, 7]], marks: [] };
  assert.deepEqual(podCountOf({ ...count, later: true }), count);
  for (const answer of [null, {}, { ...count, count: "1" }, { ...count, through: [[0]] }, { error: "x" }])
    assert.equal(podCountOf(answer), undefined);
});

test("a message counts as many as it has domains, but never more than the limit", () => {
  assert.equal(weightOf(["a@one.example"], 10), 1);
  assert.equal(weightOf(["a@one.example", "b@one.example"], 10), 1);
  assert.equal(weightOf(["a@one.example", "b@two.example"], 10), 2);
  assert.equal(weightOf(["a@one.example", "b@two.example"], 1), 1);
});
