import assert from "node:assert/strict";
import { test } from "node:test";
import type { Msg } from "@nats-io/transport-node";
import type { Spool } from "#mta-pod/spool/connection.ts";
import { direct } from "#mta-pod/spool/direct-get.ts";
import type { Answer, Call } from "#mta-pod/spool/request-inbox.ts";

const notFound = { error: { code: 404, err_code: 10037, description: "no message found" } };
const stored = { message: { seq: 94, subject: "mb.x.0.q.t.s.o.b", data: "aGk=", time: "" } };
const info = (lastSeq: number): object => ({
  created: "2026-11-29T00:00:00Z",
  state: { messages: 3, first_seq: 1, last_seq: lastSeq },
});

/** Answers like a server: a replica that has nothing, and a leader that says what stands in `leader`, in that order. */
function servers(leader: { get: readonly object[]; info: readonly object[] }, replicas = 3): Spool {
  const gets = leader.get.values();
  const infos = leader.info.values();
  const answerTo = ({ subject }: Call): Partial<Msg> => {
    if (subject.includes("DIRECT.GET"))
      return { headers: { code: 404, description: "Message Not Found" } as never, data: Buffer.alloc(0) };
    const told = (subject.includes("MSG.GET") ? gets : infos).next().value;
    assert.ok(told !== undefined, `not expected: ${subject}`);
    return { data: Buffer.from(JSON.stringify(told)) };
  };
  const ask = (call: Call): Promise<Answer> =>
    Promise.resolve({ kind: "answer", message: answerTo(call) } as unknown as Answer);
  const timers = {
    after: (_ms: number, run: () => void) => {
      queueMicrotask(run);
      return () => {};
    },
  };
  return { ask, timers, options: { replicas } } as unknown as Spool;
}

const ask = (spool: Spool): Promise<string> => direct(spool, "MB_x_0", { seq: 94 }).then((read) => read.kind);

test("a leader that has not come to the sequence yet knows nothing of it: it is asked again when it has", async () => {
  assert.equal(
    await ask(servers({ get: [notFound, stored], info: [info(93), info(93), info(94)] })),
    "message",
  );
});

test("gone is what the leader has passed and does not have", async () => {
  assert.equal(await ask(servers({ get: [notFound, notFound], info: [info(94)] })), "gone");
});

test("a leader that does not say how far it is proves nothing", async () => {
  const away = { error: { code: 503, err_code: 10008, description: "system not available" } };
  assert.equal(await ask(servers({ get: [notFound], info: [away] })), "unavailable");
  assert.equal(await ask(servers({ get: [notFound, away], info: [info(94)] })), "unavailable");
});

test("what the leader never comes to was lost with the end of the stream", async () => {
  assert.equal(
    await ask(
      servers({
        get: [notFound],
        info: Array.from({ length: 21 }, () => info(93)),
      }),
    ),
    "gone",
  );
});

test("one server alone is believed at once", async () => {
  assert.equal(await ask(servers({ get: [notFound], info: [] }, 1)), "gone");
});
