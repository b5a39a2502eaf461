import assert from "node:assert/strict";
import { test } from "node:test";
import { createAdmission } from "#mta-pod/admit/admission.ts";
import type { Message } from "#mta-pod/intake.ts";
import { createReceive } from "#mta-pod/receive.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import type { SessionFacts } from "#mta-pod/smtp/inbound.ts";
import { configOf, tenantOf } from "./admit/pod-config.ts";
import { acme } from "./smtp-in/kit.ts";

const session: SessionFacts = {
  id: "s1",
  remoteAddress: "127.0.0.1",
  remotePort: 40_000,
  listener: "submission",
  helo: "app",
  protocol: "ESMTPSA",
  tls: "",
  login: acme,
};

interface Given {
  readonly header?: string;
  readonly text?: string;
  readonly from?: string;
  readonly to?: readonly string[];
  /** What MAIL said. */
  readonly smtpUtf8?: boolean;
}

/** What the queue is given of a message, and the reply. */
async function received(
  given: Given,
): Promise<{ readonly stored: Message | undefined; readonly said: string }> {
  const { header = "From: a@acme.example\r\n", text = "hello", smtpUtf8 = true } = given;
  const { from = "a@acme.example", to = ["b@b.example"] } = given;
  const admission = createAdmission(configOf(tenantOf()));
  let stored: Message | undefined;
  const receive = createReceive({
    pod: {
      name: "pod-0",
      clock: { now: () => 0, monotonic: () => 0 },
      log: silentLog,
      newId: () => "m1",
      config: () => ({ manifest: { pool: "mail/p", hostname: "out.example.net" }, tenants: new Map() }),
      metrics: {
        tenantLabel: (tenant: string) => tenant,
        received: { inc: () => {} },
        rejections: { inc: () => {} },
      },
      eventLog: { append: () => {} },
    },
    intake: {
      put(message: Message, done: (result: object) => void) {
        stored = message;
        done({ kind: "stored" });
      },
    },
    admission: () => admission,
  } as never);
  const body = Buffer.from(`${header}\r\n${text}\r\n`);
  const eightBit = body.some((byte) => byte > 127);
  const said = await new Promise<string>((resolve) =>
    receive.message({ from, to, body, isLast: true, eightBit, smtpUtf8, session }, ({ code, text: line }) =>
      resolve(`${code} ${line}`),
    ),
  );
  return { stored, said };
}

test("a message needs SMTPUTF8 when it was asked for and a local part or the header has more than ASCII", async () => {
  const cases: [Given, needed: boolean][] = [
    [{}, false],
    [{ text: "grüße" }, false],
    [{ header: "From: a@acme.example\r\nSubject: grüße\r\n" }, true],
    [{ header: "From: a@acme.example\r\nSubject: grüße\r\n", smtpUtf8: false }, false],
    [{ from: "jürgen@acme.example" }, true],
    [{ to: ["b@b.example", "jürgen@b.example"] }, true],
    [{ to: ["b@bücher.example"] }, false],
  ];
  for (const [given, needed] of cases)
    assert.equal((await received(given)).stored?.smtpUtf8, needed, JSON.stringify(given));
});

test("domains are stored as A-labels, whatever the client calls them", async () => {
  const to = ["x@Bücher.example", "jürgen@BÜCHER.example", "y@B.example"];
  const { stored } = await received({ to });
  assert.deepEqual(stored?.to, ["x@xn--bcher-kva.example", "jürgen@xn--bcher-kva.example", "y@B.example"]);
});

test("From may name its one address twice, as mail programs write it that have no name; another one beside it is one too many", async () => {
  const cases: [header: string, code: number][] = [
    ["From: info@acme.example <info@acme.example>\r\n", 250],
    ['From: "info@acme.example" <info@acme.example>\r\n', 250],
    ["From: info@ACME.example <info@acme.example>\r\n", 250],
    ["From: INFO@acme.example <info@acme.example>\r\n", 550],
    ["From: boss@acme.example <info@acme.example>\r\n", 550],
    ["From: boss@other.example <info@acme.example>\r\n", 550],
    ["From: info@other.example <info@other.example>\r\n", 550],
    ["From: info@acme.example\r\nFrom: info@acme.example\r\n", 550],
  ];
  for (const [header, code] of cases)
    assert.equal(Number((await received({ header })).said.slice(0, 3)), code, header);
});
