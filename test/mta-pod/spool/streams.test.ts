import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Kvm } from "@nats-io/kv";
import { callApi } from "#mta-pod/spool/api.ts";
import type { Spool } from "#mta-pod/spool/connection.ts";
import { ensureStreams, streamConfigs } from "#mta-pod/spool/streams.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { startTestSpool } from "#test/kit/spool.ts";

type Config = Readonly<Record<string, unknown>>;

async function configOf(spool: Spool, stream: string): Promise<Config> {
  const info = await callApi(spool, { subject: `STREAM.INFO.${stream}` });
  assert.ok(info.kind === "ok", JSON.stringify(info));
  return info.value["config"] as Config;
}

describe("ensureStreams()", () => {
  let nats: TestNats;
  before(async () => {
    nats = await startTestNats();
  });
  after(() => nats[Symbol.asyncDispose]());

  test("makes the streams of design.md §3, and the same again changes nothing", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/make" });
    const before = new Map<string, Config>();
    for (const wanted of streamConfigs(spool.names, spool.options)) {
      const config = await configOf(spool, wanted.name);
      before.set(wanted.name, config);
      for (const [option, value] of Object.entries(wanted))
        if (value !== 0) assert.deepEqual(config[option], value, `${wanted.name} ${option}`);
    }
    assert.equal(before.size, 2 + 3);
    const shard = before.get(spool.names.shardStream(0));
    assert.equal(shard?.["max_age"], 0);
    assert.equal(shard?.["max_msgs"], -1);
    await ensureStreams(spool);
    for (const [name, config] of before) assert.deepEqual(await configOf(spool, name), config);
  });

  test("eight pods that start together make one set", async () => {
    // Closes all of them when one fails: a spool left behind would look for its server for ever.
    await using opened = new AsyncDisposableStack();
    const starts = await Promise.allSettled(
      Array.from({ length: 8 }, async (_, pod) =>
        opened.use(
          await startTestSpool(nats.url, {
            pool: "t/race",
            pod: `pod-${pod}`,
            maxBytesPerShard: 1_000_000 + pod,
          }),
        ),
      ),
    );
    const failures = starts.flatMap((start) => (start.status === "rejected" ? [String(start.reason)] : []));
    assert.deepEqual(failures, []);
    const [first] = starts;
    assert.ok(first?.status === "fulfilled");
    const { value: spool } = first;
    const config = await configOf(spool, spool.names.shardStream(1));
    assert.equal(config["max_bytes"], 1_000_007, "the largest wish wins");
  });

  test("a pod with smaller wishes that read before the update and wrote behind it has not the last word", async () => {
    await using old = await startTestSpool(nats.url, { pool: "t/lost", maxBytesPerShard: 1_000_000 });
    await using medium = await startTestSpool(nats.url, { pool: "t/lost" }, { makeStreams: false });
    await using large = await startTestSpool(nats.url, { pool: "t/lost" }, { makeStreams: false });
    const updated = Promise.withResolvers<void>();
    const written = Promise.withResolvers<void>();
    const isUpdate = (subject: string): boolean => subject.includes("STREAM.UPDATE");
    const slow: Spool = {
      ...medium,
      options: { ...medium.options, maxBytesPerShard: 2_000_000 },
      async ask(request) {
        if (isUpdate(request.subject)) await updated.promise;
        const answer = await medium.ask(request);
        if (isUpdate(request.subject)) written.resolve();
        return answer;
      },
    };
    const quick: Spool = {
      ...large,
      options: { ...large.options, maxBytesPerShard: 3_000_000 },
      async ask(request) {
        const answer = await large.ask(request);
        if (isUpdate(request.subject)) {
          updated.resolve();
          await written.promise;
        }
        return answer;
      },
    };
    await Promise.all([ensureStreams(slow), ensureStreams(quick)]);
    for (const shard of [0, 1])
      assert.equal((await configOf(old, old.names.shardStream(shard)))["max_bytes"], 3_000_000);
  });

  test("grows and never shrinks", async () => {
    await using small = await startTestSpool(nats.url, { pool: "t/grow", maxBytesPerShard: 1_000_000 });
    await using large = await startTestSpool(nats.url, { pool: "t/grow", maxBytesPerShard: 2_000_000 });
    await ensureStreams(small);
    assert.equal((await configOf(large, large.names.shardStream(0)))["max_bytes"], 2_000_000);
  });

  test("turns on what an older release did not ask for", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/older" }, { makeStreams: false });
    const name = spool.names.shardStream(0);
    const body = { name, subjects: spool.names.shardSubjects(0), storage: "file", discard: "new" };
    await callApi(spool, { subject: `STREAM.CREATE.${name}`, body });
    await ensureStreams(spool);
    const config = await configOf(spool, name);
    assert.equal(config["allow_rollup_hdrs"], true);
    assert.equal(config["allow_direct"], true);
    assert.equal(config["max_bytes"], -1, "no limit is never made smaller");
  });

  test("refuses a stream that would drop mail, and names it", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/wrong" }, { makeStreams: false });
    const name = spool.names.shardStream(0);
    const body = { name, subjects: spool.names.shardSubjects(0), storage: "file", discard: "old" };
    await callApi(spool, { subject: `STREAM.CREATE.${name}`, body });
    await assert.rejects(ensureStreams(spool), {
      message: `Cannot use stream ${name}: expected discard new, got old`,
    });
  });

  test("says at once when the server has no room for the streams", async () => {
    const options = { pool: "t/room", maxBytesPerShard: 10 ** 16 };
    await using spool = await startTestSpool(nats.url, options, { makeStreams: false });
    await assert.rejects(ensureStreams(spool), /Cannot make stream MB_\w+_0: expected .* \(10047\)/);
  });

  test("the bucket takes keys with a time to live, and tells watchers of their end", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/bucket" });
    const bucket = await new Kvm(spool.nc).open(spool.names.bucket);
    await bucket.create("member.a", "x", "1s");
    const watch = await bucket.watch({ key: "member.a" });
    for await (const entry of watch) {
      if (entry.operation === "PUT") continue;
      assert.equal(entry.operation, "PURGE");
      break;
    }
  });
});
