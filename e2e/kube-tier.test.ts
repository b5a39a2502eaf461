/** Says how much of a cluster the tests of this folder get, so that a green run is not taken for more than it was. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { tierHere } from "./cluster/tier.ts";

const { tier, why, isFailure } = await tierHere();

test(`cluster tier: ${tier} (${why})`, () => {
  assert.equal(isFailure, false, "CI needs the full tier");
});
