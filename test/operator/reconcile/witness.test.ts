/** Who tells a living pod that another has died: only of containers that a kubelet saw end, only of the incarnation that ended. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock, KubeObject, Log } from "#operator/kube/types.ts";
import { createWitness } from "#operator/reconcile/witness.ts";
import type { PoolQueue } from "#operator/streams/pool-queue.ts";

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };
const finishedAt = "2026-11-29T10:00:10Z";
const endedMs = Date.parse(finishedAt);

function pod(state: object, lastState: object = {}): KubeObject {
  const containerStatuses = [{ name: "mailboat", state, lastState }];
  return { apiVersion: "v1", kind: "Pod", metadata: { name: "pod-0" }, status: { containerStatuses } };
}

const running = pod({ running: {} });
const ended = pod({ terminated: { finishedAt, exitCode: 137 } });
const restarted = pod({ running: {} }, { terminated: { finishedAt, exitCode: 137 } });

interface Member {
  readonly incarnation: string;
  readonly startedAt: number;
  readonly isGone: boolean;
}

/** Time stands until `pass()`. */
function scene({ member, answers }: { member: Member | undefined; answers: boolean[] }) {
  const told: unknown[] = [];
  let due: (() => void)[] = [];
  const queue: Pick<PoolQueue, "incarnationOf" | "witness"> = {
    incarnationOf: async () => member,
    witness: async (dead) => {
      told.push(dead);
      return answers.shift() ?? false;
    },
  };
  const clock: Pick<Clock, "after"> = {
    after: (_ms, run) => {
      due.push(run);
      return () => {};
    },
  };
  const witness = createWitness({ queueOf: () => queue as PoolQueue, clock: clock as Clock, log: silent });
  return {
    told,
    witness,
    async pass() {
      // Answers are promises.
      await new Promise(setImmediate);
      const now = due;
      due = [];
      for (const run of now) run();
      await new Promise(setImmediate);
    },
  };
}

const before: Member = { incarnation: "i1", startedAt: endedMs - 60_000, isGone: false };

for (const [name, after] of [
  ["a container that ended", ended],
  ["one that runs again already", restarted],
] as const)
  test(`${name} is told once`, async () => {
    const { witness, told, pass } = scene({ member: before, answers: [true] });
    witness.saw("mail/shared", running, after);
    await pass();
    witness.saw("mail/shared", after, after);
    await pass();
    assert.deepEqual(told, [{ pod: "pod-0", incarnation: "i1" }]);
  });

test("nobody who lives is told dead: a newer incarnation, one that has left, a pod without an end", async () => {
  for (const member of [
    { ...before, startedAt: endedMs },
    { ...before, isGone: true },
  ]) {
    const { witness, told, pass } = scene({ member, answers: [true] });
    witness.saw("mail/shared", running, ended);
    await pass();
    assert.deepEqual(told, []);
  }
  const { witness, told, pass } = scene({ member: before, answers: [true] });
  witness.saw("mail/shared", undefined, running);
  witness.saw("mail/shared", running, undefined);
  witness.saw("mail/shared", running, {
    ...running,
    metadata: { name: "pod-0", deletionTimestamp: finishedAt },
  });
  await pass();
  assert.deepEqual(told, [], "a pod that was deleted, by force perhaps, may run on");
});

test("it is told again until a pod has taken it in, five times in all", async () => {
  const late = scene({ member: before, answers: [false, false, true] });
  late.witness.saw("mail/shared", running, ended);
  for (let second = 0; second < 8; second++) await late.pass();
  assert.equal(late.told.length, 3);
  const never = scene({ member: before, answers: [] });
  never.witness.saw("mail/shared", running, ended);
  for (let second = 0; second < 8; second++) await never.pass();
  assert.equal(never.told.length, 5);
  const unknown = scene({ member: undefined, answers: [] });
  unknown.witness.saw("mail/shared", running, ended);
  for (let second = 0; second < 8; second++) await unknown.pass();
  assert.deepEqual(unknown.told, []);
});
