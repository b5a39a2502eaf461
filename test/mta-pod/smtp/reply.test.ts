import assert from "node:assert/strict";
import { test } from "node:test";
import { describeReply, reply } from "#mta-pod/smtp/reply.ts";

test("describeReply() is one bounded line", () => {
  assert.equal(describeReply(reply(550, "5.1.1", "no\nuser")), "550 5.1.1 no user");
  assert.equal(describeReply(reply(550, "", "x".repeat(2000))).length, 512);
});
