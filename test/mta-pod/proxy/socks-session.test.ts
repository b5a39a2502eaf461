import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { connectReply, createSocksSession, replies, type SocksStep } from "#mta-pod/proxy/socks-session.ts";

const isLogin = ({ username, password }: { username: string; password: string }): boolean =>
  username === "pods" && password === "secret";

function conversation(chunks: readonly string[]): string[] {
  const session = createSocksSession(isLogin);
  return chunks.map((chunk) => inShort(session.push(Buffer.from(chunk.replaceAll(" ", ""), "hex"))));
}

function inShort(step: SocksStep): string {
  switch (step.kind) {
    case "wait":
      return "wait";
    case "write":
      return step.bytes.toString("hex");
    case "connect":
      return `connect ${step.address}:${step.port}${step.from === undefined ? "" : ` from ${step.from}`}`;
    case "refused":
      return `refused ${step.reason} ${step.bytes.toString("hex")}`.trim();
    default:
      return step satisfies never;
  }
}

function login(username: string, password: string): string {
  const part = (text: string): string =>
    Buffer.from([text.length]).toString("hex") + Buffer.from(text).toString("hex");
  return `01${part(username)}${part(password)}`;
}

const ask = "05 01 00 01 c0000201 0019";

const table: readonly [what: string, chunks: string[], expected: string[]][] = [
  ["lets in who logs in", ["050102", login("pods", "secret"), ask], ["0502", "0100", "connect 192.0.2.1:25"]],
  [
    "sends from the address behind the username",
    ["050102", login("pods@203.0.113.7", "secret"), ask],
    ["0502", "0100", "connect 192.0.2.1:25 from 203.0.113.7"],
  ],
  [
    "reads IPv6",
    ["050102", login("pods@2001:db8::7", "secret"), "05 01 00 04 20010db8000000000000000000000001 0019"],
    ["0502", "0100", "connect 2001:db8::1:25 from 2001:db8::7"],
  ],
  ["takes the login among several methods", ["05 03 00 01 02"], ["0502"]],
  ["is no open proxy", ["050100"], ["refused login 05ff"]],
  ["refuses a wrong password", ["050102", login("pods", "wrong")], ["0502", "refused login 0101"]],
  [
    "refuses a wrong name with an address",
    ["050102", login("x@127.0.0.1", "secret")],
    ["0502", "refused login 0101"],
  ],
  ["refuses another version", ["04 01 0019 c0000201 00"], ["refused protocol"]],
  ["refuses another version of the login", ["050102", "02 00"], ["0502", "refused protocol 0101"]],
  [
    "resolves no names",
    ["050102", login("pods", "secret"), "05 01 00 03 01 61 0019"],
    ["0502", "0100", "refused protocol 05080001000000000000"],
  ],
  [
    "does not bind",
    ["050102", login("pods", "secret"), "05 02 00 01 c0000201 0019"],
    ["0502", "0100", "refused protocol 05070001000000000000"],
  ],
  ["waits for the rest", ["05", "01", "02"], ["wait", "wait", "0502"]],
  ["refuses who does not wait", [`050102${login("pods", "secret")}`], ["refused protocol"]],
];

for (const [what, chunks, expected] of table)
  test(`createSocksSession() ${what}`, () => assert.deepEqual(conversation(chunks), expected));

test("createSocksSession() gives the same answers however the bytes are cut", () => {
  const whole = ["050102", login("pods@127.0.0.1", "secret"), ask.replaceAll(" ", "")];
  for (const size of [1, 2, 3, 7]) {
    const session = createSocksSession(isLogin);
    const told: string[] = [];
    for (const text of whole)
      for (const cut of text.match(new RegExp(`.{1,${size * 2}}`, "g")) ?? [])
        told.push(inShort(session.push(Buffer.from(cut, "hex"))));
    assert.deepEqual(
      told.filter((one) => one !== "wait"),
      ["0502", "0100", "connect 192.0.2.1:25 from 127.0.0.1"],
    );
  }
});

test("createSocksSession() never throws, never connects without the login and holds little, whatever comes", () => {
  const valid = fc.constantFrom(
    ...["050102", "050100", login("pods", "no"), ask].map((text) =>
      Buffer.from(text.replaceAll(" ", ""), "hex"),
    ),
  );
  const chunk = fc.oneof(
    fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes)),
    valid,
  );
  fc.assert(
    fc.property(fc.array(chunk, { maxLength: 10 }), (chunks) => {
      const session = createSocksSession(isLogin);
      let held = 0;
      for (const bytes of chunks) {
        const step = session.push(bytes);
        assert.notEqual(step.kind, "connect");
        if (step.kind === "refused") return;
        held = step.kind === "wait" ? held + bytes.length : 0;
        assert.ok(held < 600, String(held));
      }
    }),
    { numRuns: 2000 },
  );
});

test("connectReply() writes the address that is sent from, and zeros where it is not known", () => {
  assert.equal(
    connectReply(replies.done, { address: "::ffff:192.0.2.1", port: 258 }).toString("hex"),
    "05000001c00002010102",
  );
  assert.equal(connectReply(replies.done, { address: "2001:db8::1", port: 1 }).length, 22);
  assert.equal(
    connectReply(replies.refused, { address: "", port: 0 }).toString("hex"),
    "05050001000000000000",
  );
});
