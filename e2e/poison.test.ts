/** Entries that cannot be handled, put into the real stream: set aside with an alarm, shown, let go when told; the rest flows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, headers as natsHeaders } from "@nats-io/transport-node";
import { encodeEnvelope, envelopeHeader } from "#crds/wire/envelope.ts";
import { encodePeerQuestion } from "#crds/wire/peer.ts";
import { encodeState, idHashOf } from "#crds/wire/state-record.ts";
import { poolNames, shardOf } from "#crds/wire/subject.ts";
import { startProvider } from "#operator/provider/provider.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testResources } from "#test/kit/local-resources.ts";
import { scrape, statuses } from "#test/kit/scrape.ts";
import { sendBurst } from "#test/kit/smtp-talk.ts";
import { envelope } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";

const names = poolNames("mail/shared");
const shards = 8;
const site = "fine";

interface Queued {
  readonly entries: readonly { readonly id: string; readonly state: string; readonly reason?: string }[];
}

async function parkedIn(local: LocalMode): Promise<Queued["entries"]> {
  const { entries } = (await local.admin("/v1/queue")) as Queued;
  return entries.filter(({ state }) => state === "parked");
}

/** Publishes past the product, as nothing of ours would. */
async function plant(
  local: LocalMode,
  { id, text, payload = "", subject }: { id: string; text: string; payload?: string; subject?: string },
): Promise<number> {
  const connection = await connect({ servers: (await local.read()).nats });
  const fields = natsHeaders();
  fields.set("Nats-Msg-Id", id);
  fields.set(envelopeHeader, text);
  const shard = shardOf(site, shards);
  const answer = await connection.request(subject ?? names.entrySubject(shard, "mail/acme", site), payload, {
    headers: fields,
    timeout: 5000,
  });
  await connection.close();
  return answer.json<{ seq: number }>().seq;
}

/** As the operator does for a tenant that is deleted. */
async function discard(local: LocalMode, tenant: string): Promise<void> {
  const connection = await connect({ servers: (await local.read()).nats });
  const query = { job: "e2e", action: "discard", selection: { tenant } };
  await connection.request(names.peerSubject(), encodePeerQuestion({ kind: "act", query }), {
    timeout: 5000,
  });
  await connection.close();
}

const fields = (id: string, size: number, bodyChunks = 0) =>
  envelope({
    id,
    site,
    from: "a@acme.example",
    to: [`${id}@fine.example`],
    receivedAt: Date.now(),
    expiresAt: Date.now() + 3_600_000,
    size,
    bodyChunks,
  });

test("entries that cannot be read or whose body is missing are parked, shown and alarmed; mail flows; retry sends what can be sent again, bounce ends the rest", async (t) => {
  await using provider = await startProvider({ keepMessages: 1000 });
  const routes = [{ host: "127.0.0.1", port: provider.port }];
  const rules = [{ name: site, match: { domains: ["fine.example"] }, routes }];
  await using local = await startLocal({ resources: testResources({ rules, shards }), pods: 2 });
  await plant(local, { id: "poison-envelope", text: '[1,"poison-envelope",7]' });
  await plant(local, { id: "poison-version", text: "[99]" });
  for (const id of ["poison-body", "poison-lost"])
    await plant(local, { id, text: encodeEnvelope(fields(id, 3_000_000, 4)) });
  const mails = 200;
  await sendBurst({
    address: local.endpoints.smtp,
    count: mails,
    connections: 4,
    recipient: (number) => `u${number}@fine.example`,
  });
  await until("the rest to flow", () => provider.audit.ids.unique() === mails, 30_000);
  const parked = await until(
    "four to be parked",
    async () => {
      const found = await parkedIn(local);
      return found.length === 4 && found;
    },
    30_000,
  );
  assert.deepEqual(parked.map(({ id }) => id).sort(), [
    "poison-body",
    "poison-envelope",
    "poison-lost",
    "poison-version",
  ]);
  for (const { id, reason } of parked) t.diagnostic(`${id}: ${reason}`);
  assert.ok(parked.every(({ reason = "" }) => reason !== ""));
  const alarmed = (await scrape(local)).filter(({ name }) => name === "mailboat_parked_messages");
  assert.equal(
    alarmed.reduce((sum, { value }) => sum + value, 0),
    4,
  );
  // The body turns up again: the last chunk last, as its sender would have.
  const chunk = Buffer.alloc(750_000, "x\r\n").toString("latin1");
  for (let index = 0; index < 4; index++)
    await plant(local, {
      id: `chunk-${index}`,
      text: "",
      payload: chunk,
      subject: names.bodySubject("poison-body", index),
    });
  await local.admin("/v1/queue/retry", { id: "poison-body" });
  await until(
    "the mended one",
    () => provider.messages.list({ limit: 5 }).some(({ to }) => to[0]?.startsWith("poison-body")),
    20_000,
  );
  const left = async (): Promise<string[]> => (await parkedIn(local)).map(({ id }) => id).sort();
  const bad = ["poison-envelope", "poison-lost", "poison-version"];
  for (const id of bad) await local.admin("/v1/queue/retry", { id });
  assert.deepEqual(await left(), bad, "what is still bad stays");
  await local.admin("/v1/queue/bounce", { tenant: "mail/acme" });
  assert.deepEqual(await left(), ["poison-envelope", "poison-version"], "of those nobody can be told");
  await local.admin("/v1/queue/bounce", { id: "poison-version" });
  assert.deepEqual(await left(), ["poison-envelope"]);
  await discard(local, "mail/acme");
  await until("the last one to go with its tenant", async () => (await left()).length === 0, 20_000);
});

test("an entry that was under way at two noted deaths is parked by the next owner and sent on retry; its neighbours flow", async () => {
  await using provider = await startProvider({ keepMessages: 100 });
  const rules = [
    {
      name: site,
      match: { domains: ["fine.example"] },
      routes: [{ host: "127.0.0.1", port: provider.port }],
    },
  ];
  await using local = await startLocal({ resources: testResources({ rules, shards }), pods: 1 });
  await local.admin("/v1/queue/suspend", { tenant: "mail/acme" });
  const text = "Subject: x\r\n\r\nhello\r\n";
  const shard = shardOf(site, shards);
  for (const [id, started] of [
    ["deadly", 2],
    ["neighbour", 1],
  ] as const) {
    const seq = await plant(local, { id, text: encodeEnvelope(fields(id, text.length)), payload: text });
    // What an owner leaves that died with it: two notes, and one.
    const record = { attempt: 0, due: 0, open: [0], idHash: idHashOf(id), last: "", started };
    await plant(local, {
      id: `state-${id}`,
      text: "",
      payload: encodeState(record),
      subject: names.stateSubject(shard, seq),
    });
  }
  const owned = async (): Promise<unknown> => (await statuses(local))[0]?.["shards"];
  await until(
    "it to own them all",
    async () => Array.isArray(await owned()) && ((await owned()) as unknown[]).length === shards,
  );
  await local.kill(0);
  const parked = await until(
    "it to be parked",
    async () => {
      const found = await parkedIn(local).catch(() => []);
      return found.length > 0 && found;
    },
    30_000,
  );
  assert.deepEqual(
    parked.map(({ id }) => id),
    ["deadly"],
  );
  await local.admin("/v1/queue/resume", { tenant: "mail/acme" });
  const arrived = (): string[] => provider.messages.list({ limit: 5 }).map(({ to }) => to[0] ?? "");
  await until("its neighbour", () => arrived().length === 1, 20_000);
  assert.deepEqual(arrived(), ["neighbour@fine.example"]);
  await local.admin("/v1/queue/retry", { id: "deadly" });
  await until("it, once told", () => arrived().includes("deadly@fine.example"), 20_000);
});
