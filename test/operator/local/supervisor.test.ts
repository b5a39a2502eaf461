import assert from "node:assert/strict";
import { test } from "node:test";
import { type Started, supervise } from "#operator/local/supervisor.ts";
import { until } from "#test/kit/until.ts";

interface Child {
  readonly number: number;
  die(how: string): void;
}

/** Children whose end the test decides. */
function nursery(): { children: Child[]; stopped: number[]; start(): Promise<Started<number>> } {
  const children: Child[] = [];
  const stopped: number[] = [];
  return {
    children,
    stopped,
    async start() {
      const number = children.length;
      const { promise, resolve } = Promise.withResolvers<string>();
      children.push({ number, die: resolve });
      const stop = async (): Promise<void> => {
        stopped.push(number);
        resolve("stopped");
      };
      return { facts: number, exited: promise, stop, kill: () => resolve("killed") };
    },
  };
}

test("supervise() starts a child that died again, and says how it ended", async () => {
  const { children, stopped, start } = nursery();
  const deaths: string[] = [];
  const ready: number[] = [];
  const supervisor = await supervise({
    start,
    onDeath: (number, how) => deaths.push(`${number} ${how}`),
    onFailure: () => assert.fail("no start failed"),
    onReady: (number) => ready.push(number),
  });
  children[0]?.die("SIGKILL");
  await until("the second child", () => ready.length === 2);
  assert.deepEqual(deaths, ["0 SIGKILL"]);
  assert.equal(supervisor.facts(), 1);
  await supervisor.stop();
  assert.deepEqual([deaths.length, stopped.at(-1)], [1, 1]);
});

test("supervise() tries again when a restart fails, and throws when the first start does", async () => {
  const { children, start } = nursery();
  let failing = 2;
  const failures: unknown[] = [];
  const supervisor = await supervise({
    start: () => (children.length > 0 && failing-- > 0 ? Promise.reject(new Error("port")) : start()),
    onDeath: () => {},
    onFailure: (error) => failures.push(error),
    onReady: () => {},
  });
  children[0]?.die("exit code 1");
  await until("a child after two failures", () => supervisor.facts() === 1);
  assert.equal(failures.length, 2);
  await supervisor.stop();
  const broken = supervise({
    start: () => Promise.reject(new Error("never")),
    onDeath() {},
    onFailure() {},
    onReady() {},
  });
  await assert.rejects(broken, /never/);
});

test("supervise() leaves no child behind when it is stopped in the middle of a restart", async () => {
  const { children, stopped, start } = nursery();
  const gate = Promise.withResolvers<void>();
  let restarting = false;
  const supervisor = await supervise({
    async start() {
      if (children.length > 0) {
        restarting = true;
        await gate.promise;
      }
      return start();
    },
    onDeath: () => {},
    onFailure: () => {},
    onReady: () => {},
  });
  children[0]?.die("SIGKILL");
  await until("the restart", () => restarting);
  const stopping = supervisor.stop();
  gate.resolve();
  await stopping;
  assert.equal(stopped.at(-1), 1);
});
