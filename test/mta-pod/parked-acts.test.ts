import assert from "node:assert/strict";
import { test } from "node:test";
import { idHashOf, type StateRecord } from "#crds/wire/state-record.ts";
import type { Deliver } from "#mta-pod/deliver.ts";
import { createParkedActs } from "#mta-pod/parked-acts.ts";
import type { Pod } from "#mta-pod/pod.ts";
import { createPoison } from "#mta-pod/poison.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import type { States } from "#mta-pod/spool/states.ts";
import { reply } from "#mta-pod/smtp/reply.ts";
import { envelope } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";

test("what is being parked is not sent on its way before that is written: it would be undone by it", async () => {
  const parkedMail = envelope({ id: "bad" });
  const body = Buffer.alloc(0);
  const written: StateRecord[] = [];
  const added: (StateRecord | undefined)[] = [];
  const store = Promise.withResolvers<void>();
  const states: Pick<States, "read" | "write"> = {
    async read() {
      const record = written.at(-1);
      return record === undefined ? { kind: "none" } : { kind: "state", stateSeq: 9, record };
    },
    async write(_shard, _seq, { record }) {
      await store.promise;
      written.push(record);
      return { kind: "written", stateSeq: 9 };
    },
  };
  const pod = {
    states,
    entries: { fetch: async () => ({ kind: "entry", subject: "", envelope: parkedMail, body }) },
    ownership: { mayProceed: () => true },
    log: silentLog,
    clock: { now: () => 0, monotonic: () => 0 },
    metrics: { parked: { set: () => {} } },
  } as unknown as Pod;
  const poison = createPoison({ pod, owns: () => true, leaseSeqOf: () => 5, concurrencyOf: () => 1 });
  const deliver = {
    add: (_at, _envelope, { state }) => void added.push(state),
    pump: () => {},
  } satisfies Partial<Deliver> as unknown as Deliver;
  const acts = createParkedActs({ pod, poison, deliver: () => deliver, leaseSeqOf: () => 5 });
  const entry = { shard: 3, seq: 41, idHash: idHashOf("bad"), attempt: 0, due: 0 };
  let isParked = false;
  poison.park(entry, { envelope: parkedMail, open: [0], reason: "broken" }, () => void (isParked = true));
  const retry = async (): Promise<boolean[]> =>
    Promise.all(
      acts
        .list({ id: "bad" })
        .map((one) => acts.act("retry", one, { reply: reply(550, "5.0.0", "no"), query: {} })),
    );
  assert.deepEqual([await retry(), added], [[false], []]);
  store.resolve();
  await until("it to be written", () => isParked);
  assert.deepEqual(await retry(), [true]);
  assert.deepEqual([added[0]?.parked, added[0]?.open, poison.sizeOf(3)], [undefined, [0], 0]);
});
