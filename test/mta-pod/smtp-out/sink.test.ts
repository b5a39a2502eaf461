import assert from "node:assert/strict";
import { test } from "node:test";
import type { TransactionResult } from "#mta-pod/smtp/transaction.ts";
import { openSink } from "#mta-pod/smtp-out/sink.ts";
import { inShort, mail } from "./client.ts";

function open() {
  const happened: string[] = [];
  const connection = openSink({
    ready: () => happened.push("ready"),
    failed: ({ kind }) => happened.push(`failed ${kind}`),
    closed: () => happened.push("closed"),
  });
  const send = (given = {}): Promise<TransactionResult> =>
    new Promise((resolve) => {
      connection.send(mail(given), (result) => {
        happened.push(`done ${connection.idle ? "idle" : "over"}`);
        resolve(result);
      });
      happened.push("sent");
    });
  return { connection, happened, send };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("openSink() takes message after message, one reply a recipient, with events in order", async () => {
  const { connection, happened, send } = open();
  assert.equal(connection.idle, false);
  await turn();
  const result = await send({ to: ["a@x.test", "b@x.test"] });
  assert.equal(inShort(result), "250 250");
  assert.ok(result.kind === "answered" && result.replies[0]?.text.startsWith("sink: "));
  await send();
  assert.equal(connection.sent, 2);
  connection.close();
  await turn();
  assert.deepEqual(happened, ["ready", "sent", "done idle", "sent", "done idle", "closed"]);
  const late = await send();
  assert.equal(late.kind === "fault" && late.fault.kind, "closed");
});

test("openSink() asks the fence, and can be cut off at every moment", async () => {
  const fenced = open();
  await turn();
  const result = await fenced.send({ mayProceed: () => false });
  assert.ok(result.kind === "fault" && result.fault.kind === "fenced");
  const early = open();
  early.connection.destroy();
  await turn();
  assert.deepEqual(early.happened, ["failed closed"]);
  const cut = open();
  await turn();
  const sending = cut.send();
  cut.connection.destroy();
  const lost = await sending;
  assert.ok(lost.kind === "fault" && lost.fault.kind === "closed");
  await turn();
  assert.deepEqual(cut.happened, ["ready", "sent", "done over", "closed"]);
  const closing = open();
  await turn();
  const last = closing.send();
  closing.connection.close();
  assert.equal((await last).kind, "answered");
  await turn();
  assert.deepEqual(closing.happened, ["ready", "sent", "done over", "closed"]);
});
