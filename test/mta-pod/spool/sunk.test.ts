import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeSunk, encodeSunk, maxSunkBytes } from "#crds/wire/sunk.ts";
import { createSunkStore } from "#mta-pod/spool/sunk.ts";
import { startTestNats } from "#test/kit/nats-server.ts";
import { startTestSpool } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";

const sunk = {
  at: 1_700_000_000_000,
  tenant: "mail/acme",
  from: "news@acme.example",
  to: ["jürgen@example.net"],
  site: "example.net",
  source: "a",
  ehlo: "a.example.net",
};

test("createSunkStore() makes its stream at the first message, lists the newest first and shows one", async () => {
  await using nats = await startTestNats();
  await using spool = await startTestSpool(nats.url);
  const store = createSunkStore(spool);
  assert.deepEqual(await store.list(10), []);
  assert.equal(await store.find("id1"), undefined);
  const big = Buffer.alloc(maxSunkBytes, "y");
  for (const id of ["id1", "id2", "id3"])
    store.put({ ...sunk, id }, [Buffer.from(`Subject: ${id}\r\n\r\n`), ...(id === "id3" ? [big] : [])]);
  await until("three messages", async () => (await store.list(10)).length === 3);
  assert.deepEqual(
    (await store.list(2)).map(({ id }) => id),
    ["id3", "id2"],
  );
  const found = await store.find("id1");
  assert.deepEqual(found?.sunk, { ...sunk, id: "id1", size: 16 });
  assert.equal(found?.message.toString(), "Subject: id1\r\n\r\n");
  const cut = await store.find("id3");
  assert.deepEqual([cut?.message.length, cut?.sunk.size], [maxSunkBytes, maxSunkBytes + 16]);
  assert.equal(await store.find("no such > id"), undefined);
  assert.equal(store.dropped(), 0);
  for (let number = 0; number < 1100; number++) {
    store.put({ ...sunk, id: `n${number}` }, [Buffer.from("x")]);
    if (number % 100 === 99) await until("room", async () => (await store.list(1))[0]?.id === `n${number}`);
  }
  assert.equal((await store.list(2000)).length, 1000);
  store.close();
});

test("createSunkStore() drops and counts what is too much at once, and holds nobody up", async () => {
  await using nats = await startTestNats();
  await using spool = await startTestSpool(nats.url);
  const store = createSunkStore(spool);
  for (let number = 0; number < 300; number++) store.put({ ...sunk, id: `n${number}` }, [Buffer.from("x")]);
  assert.equal(store.dropped(), 44);
  await until("the rest", async () => (await store.list(1000)).length === 256);
  store.close();
});

test("decodeSunk() reads what encodeSunk() wrote, in ASCII, and nothing else", () => {
  const whole = { ...sunk, id: "x", size: 3, from: "ü\r\n😀@x" };
  const header = encodeSunk(whole);
  assert.match(header, /^[ -~]+$/);
  assert.deepEqual(decodeSunk(header), whole);
  for (const text of ["", "{}", "null", header.slice(1)]) assert.equal(decodeSunk(text), undefined);
  assert.equal(
    decodeSunk(encodeSunk({ ...whole, to: Array.from({ length: 500 }, () => "a") }))?.to.length,
    100,
  );
});
