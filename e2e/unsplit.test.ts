/** Messages for several sites that cannot be split, as the store of one of the sites takes nothing: shown, returned, and split once it can be. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { poolNames, shardOf } from "#crds/wire/subject.ts";
import { type Provider, startProvider } from "#operator/provider/provider.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testResources } from "#test/kit/local-resources.ts";
import { until } from "#test/kit/until.ts";
import { explain, ruleTo, settled, submit } from "#test/kit/world.ts";

const shards = 8;
const shardAt = ({ port }: Provider): number => shardOf(`127.0.0.1:${port}`, shards);

interface Act {
  readonly affected: number;
  readonly isDone: boolean;
  readonly interrupted: readonly string[];
}

/** One that is stored, though not in the shard of the site that is full. */
async function unsplit(local: LocalMode, to: readonly string[]): Promise<string> {
  return until("a message that is accepted and not split", async () => {
    const id = await submit(local, { to: [...to] }).catch(() => "");
    if (id === "") return false;
    return until("it to be stored", async () => {
      const { entries } = await explain(local, id);
      return entries.some(({ state }) => state === "splitting") && id;
    });
  });
}

test("a message that is not split yet is returned, whole or in part, without waiting; another goes when there is room", async () => {
  await using open = await startProvider({});
  let full = await startProvider({});
  while (shardAt(full) === shardAt(open)) {
    const taken = full;
    full = await startProvider({});
    await taken[Symbol.asyncDispose]();
  }
  await using shut = full;
  const rules = [
    ruleTo("open", open.port),
    { ...ruleTo("acme", open.port), match: { domains: ["acme.example"] } },
    ruleTo("shut", shut.port),
  ];
  const resources = testResources({ rules, shards });
  await using local = await startLocal({ resources, pods: 2 });
  const connection = await connect({ servers: (await local.read()).nats });
  try {
    const streams = (await jetstreamManager(connection)).streams;
    const name = poolNames("mail/shared").shardStream(shardAt(shut));
    // Its owner's epoch, and nothing else.
    await streams.update(name, { max_msgs: 1 });
    const [bounced, parted, goes] = [
      await unsplit(local, ["u1@open.example", "u1@shut.example"]),
      await unsplit(local, ["u2@open.example", "u2@shut.example"]),
      await unsplit(local, ["u3@open.example", "u3@shut.example"]),
    ] as const;
    const whole = (await local.admin("/v1/queue/bounce", { id: bounced })) as Act;
    assert.ok(whole.isDone);
    const part = (await local.admin("/v1/queue/bounce", { id: parted, domain: "shut.example" })) as Act;
    assert.ok(part.isDone);
    const returned = (await explain(local, bounced)).events.filter(({ type }) => type === "bounced");
    assert.ok(returned.some(({ to = [] }) => to.includes("u1@shut.example")));
    await settled(local, parted, { types: ["received"] });
    await streams.update(name, { max_msgs: -1 });
    await settled(local, goes, { types: ["received", "delivered", "delivered"] });
    const got = (provider: Provider, to: string): number => provider.messages.list({ to, limit: 10 }).length;
    assert.deepEqual(
      [1, 2, 3].map((n) => got(shut, `u${n}@shut.example`)),
      [0, 0, 1],
    );
    assert.equal(got(open, "u3@open.example"), 1);
    assert.equal(got(open, "u2@open.example"), 1);
    await until("both reports", () => got(open, "a@acme.example") === 2);
  } finally {
    await connection.close();
  }
});
