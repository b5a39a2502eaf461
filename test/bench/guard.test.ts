import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { compareRatios, notJudged, ratiosOf, readRatios } from "#bench/guard.ts";
import type { Measurement } from "#bench/repetition.ts";

const run = (contender: string, pods: number, nats: number): Measurement =>
  ({ contender, cpu: { pods, nats, generator: 1, sink: 1 } }) as Measurement;

describe("the guard of bench", () => {
  test("compares medians of the product with the whole stock path of the same runs", () => {
    const runs = [run("mailboat", 0.2, 0.1), run("mailboat", 9, 9), run("mailboat", 0.1, 0.1)];
    assert.deepEqual(ratiosOf([...runs, run("stock", 0.3, 0.1)]), { pods: 0.5, nats: 0.25, together: 0.75 });
    assert.throws(() => ratiosOf(runs), /expected runs of mailboat and of stock/);
  });

  test("lets a part cost a quarter more, and no more", () => {
    const committed = { pods: 0.4, nats: 0.2, together: 0.6 };
    assert.equal(compareRatios("x", { pods: 0.49, nats: 0.24, together: 0.7 }, committed).ok, true);
    const dearer = compareRatios("x", { pods: 0.4, nats: 0.26, together: 0.66 }, committed);
    assert.equal(dearer.ok, false);
    assert.deepEqual(
      dearer.lines.map((line) => line.endsWith("DEARER")),
      [false, true, false],
    );
    assert.equal(compareRatios("new", committed, undefined).ok, false);
  });

  test("judges nothing on a machine so slow that the stock path costs more than the ratios hold for", () => {
    const committed = { pods: 0.4, nats: 0.2, together: 0.6, stockAtMost: 1 };
    const runs = [run("mailboat", 0.2, 0.1), run("stock", 0.7, 0.3), run("stock", 0.6, 0.3)];
    assert.equal(notJudged(runs, committed), undefined);
    assert.match(
      notJudged([...runs, run("stock", 2, 1), run("stock", 3, 1)], committed) ?? "",
      /hold up to 1$/,
    );
  });

  test("the committed ratios can be read and are of the default scenarios", async () => {
    const text = await readFile(new URL("../../bench/ratios.json", import.meta.url), "utf8");
    assert.deepEqual(Object.keys(readRatios(text)).sort(), ["burst", "paced"]);
    assert.throws(() => readRatios('{"burst":{"pods":0}}'));
  });
});
