/** Two MX hosts: the second is for trouble before the first has greeted, and never for what may have been taken already. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { test } from "node:test";
import type { Target } from "#mta-pod/smtp/transaction.ts";
import { startPeer } from "#test/kit/smtp-peer.ts";
import { client, hasty, inShort, patient } from "./client.ts";

const hello = "S: 220 peer\nC: EHLO me.test\nS: 250-peer\nS: 250 PIPELINING";
const bdatHello = "S: 220 peer\nC: EHLO me.test\nS: 250-peer\nS: 250-PIPELINING\nS: 250 CHUNKING";
const envelope = "C: MAIL FROM:<a@x.test>\nC: RCPT TO:<b@y.test>";
const taken = `${hello}\n${envelope}\nC: DATA\nS: 250 m\nS: 250 r\nS: 354 go\nBODY`;
const takenByBdat = `${bdatHello}\n${envelope}\nC: BDAT*\nCHUNK\nS: 250 m\nS: 250 r`;

/** Where nobody listens. */
async function refusing(): Promise<Target> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  await new Promise((resolve) => server.close(resolve));
  return { host: "mx1.test", address: "127.0.0.1", port };
}

const afterTheDot: readonly (readonly [name: string, script: string, result: string])[] = [
  ["closes", `${taken}\nCLOSE`, "final closed [?]"],
  ["resets the connection", `${taken}\nRESET`, "final closed [?]"],
  ["says 421", `${taken}\nS: 421 4.3.2 going down\nCLOSE`, "final refused 421 [?]"],
  ["says nothing", `${taken}\nHANG`, "final timeout [?]"],
  ["says 451", `${taken}\nS: 451 4.3.0 later`, "451"],
  ["closes behind the last BDAT", `${takenByBdat}\nCLOSE`, "final closed [?]"],
];
for (const [name, script, expected] of afterTheDot)
  test(`a first MX host that ${name} after the final dot: the second is not connected to`, async () => {
    await using first = await startPeer([script], { host: "mx1.test" });
    await using second = await startPeer([`${taken}\nS: 250 ok`], { host: "mx2.test" });
    const timeouts = { ...patient, finalMs: hasty.finalMs };
    const { connection, opened, closed, send } = client([first.target, second.target], { timeouts });
    await opened;
    assert.equal(inShort(await send()), expected);
    connection.close();
    await closed;
    // Connections are taken up in the order in which they were made: ours is the first.
    await using ours = connect(second.target.port, second.target.address);
    await once(ours, "data");
    assert.deepEqual([first.heard.length, second.heard.length], [1, 1]);
    assert.deepEqual([first.mismatches, second.bodies], [[], []]);
  });

const beforeIt: readonly (readonly [name: string, script: string | undefined])[] = [
  ["refuses the connection", undefined],
  ["greets with 421", "S: 421 4.3.2 too busy\nCLOSE"],
];
for (const [name, script] of beforeIt)
  test(`a first MX host that ${name}: the second gets the message`, async () => {
    await using first = await startPeer([script ?? ""], { host: "mx1.test" });
    await using second = await startPeer([`${taken}\nS: 250 ok`], { host: "mx2.test" });
    const target = script === undefined ? await refusing() : first.target;
    const { connection, opened, closed, send } = client([target, second.target]);
    const facts = await opened;
    assert.equal("target" in facts && facts.target?.host, "mx2.test");
    assert.equal(inShort(await send()), "250");
    connection.close();
    await closed;
    assert.equal(first.heard.length, script === undefined ? 0 : 1);
    assert.deepEqual([second.bodies.length, second.mismatches], [1, []]);
  });
