/** A short `npm run chaos -- --scenario limits`: a site's limits hold to the message, and are used, while pods end one after another. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runChaos } from "./kit/chaos-run.ts";

for (const signal of ["SIGTERM", "SIGKILL"])
  test(`2 connections and 30 messages/s from 8 pods, of which one gets ${signal} every 10 s`, async (t) => {
    const args = ["--scenario", "limits", "--minutes", "0.7", "--seed", "1", "--signal", signal];
    assert.match(await runChaos(t, args), /\nshown: no limit exceeded/);
  });
