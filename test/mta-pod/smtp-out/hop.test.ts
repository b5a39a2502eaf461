import assert from "node:assert/strict";
import { createServer } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { type Hop, type HopStep, proxyHeader, SocksClient } from "#mta-pod/smtp-out/hop.ts";
import { proxyLogin, startTestProxy } from "#test/kit/proxy.ts";
import { startPeer } from "#test/kit/smtp-peer.ts";
import { client, hasty, inShort, patient } from "./client.ts";

const fine =
  "S: 220 peer\nC: EHLO me.test\nS: 250-peer\nS: 250 PIPELINING\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 a\nS: 250 b\nS: 354 go\nBODY\nS: 250 taken";

function hopTo(port: number, rest: Partial<Hop> = {}): Hop {
  return { protocol: "SOCKS5", host: "127.0.0.1", port, login: proxyLogin, connectMs: 5000, ...rest };
}

test("openConnection() sends through a SOCKS5 proxy, from the address that the source asks for", async () => {
  await using peer = await startPeer([fine]);
  await using proxy = await startTestProxy();
  const through = client([peer.target], { hop: hopTo(proxy.port, { address: "127.0.0.9" }) });
  const facts = await through.opened;
  assert.ok("tls" in facts, JSON.stringify(facts));
  assert.deepEqual([facts.target, facts.localAddress], [peer.target, "127.0.0.9"]);
  assert.equal(inShort(await through.send()), "250");
  through.connection.close();
  await through.closed;
  assert.deepEqual(peer.mismatches, []);
  assert.equal(proxy.counts().results.connected, 1);
});

test("openConnection() tells the proxy's trouble from the destination's", async () => {
  await using peer = await startPeer([fine]);
  await using proxy = await startTestProxy({ isAllowed: (address) => address !== "127.0.0.66" });
  await using gone = await startTestProxy();
  const { port } = gone;
  await gone.drain(0);
  const faultOf = async (hop: Hop, address = "127.0.0.1", timeouts = patient) => {
    const found = await client([{ ...peer.target, address }], { hop, timeouts }).opened;
    assert.ok("kind" in found);
    return [found.stage, found.kind, found.text];
  };
  const at = (text: string): string => `proxy 127.0.0.1:${proxy.port}: ${text}`;
  const wrong = { username: "pods", password: "wrong" };
  assert.deepEqual(await faultOf(hopTo(proxy.port, { login: wrong })), [
    "connect",
    "proxy",
    at("it refuses the login"),
  ]);
  const { login: _, ...without } = hopTo(proxy.port);
  assert.deepEqual(await faultOf(without), ["connect", "proxy", at("it wants a login")]);
  assert.deepEqual((await faultOf(hopTo(port))).slice(0, 2), ["connect", "proxy"]);
  assert.deepEqual(await faultOf(hopTo(proxy.port), "127.0.0.66"), [
    "connect",
    "proxy",
    at("destination not allowed"),
  ]);
  assert.deepEqual(await faultOf(hopTo(proxy.port), "127.0.0.66"), [
    "connect",
    "proxy",
    at("destination not allowed"),
  ]);
  assert.deepEqual((await faultOf(hopTo(peer.target.port))).slice(0, 2), ["connect", "proxy"]);
  const closed = { ...peer.target, port };
  const refused = await client([closed], { hop: hopTo(proxy.port) }).opened;
  assert.ok("kind" in refused);
  assert.deepEqual([refused.kind, refused.text], ["network", at("connection refused")]);
});

test("openConnection() tries no other host behind a proxy that is away, and every host behind one that is there", async () => {
  await using peer = await startPeer([fine]);
  await using proxy = await startTestProxy();
  const away = { ...peer.target, port: 1 };
  const second = client([away, peer.target], { hop: hopTo(proxy.port) });
  assert.ok("tls" in (await second.opened));
  second.connection.destroy();
  await second.closed;
  let asked = 0;
  const deaf = createServer((socket) => {
    asked++;
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => deaf.listen(0, "127.0.0.1", resolve));
  const address = deaf.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const fault = await client([away, peer.target], { hop: hopTo(port, { connectMs: 60 }), timeouts: hasty })
    .opened;
  assert.ok("kind" in fault);
  assert.deepEqual([fault.kind, fault.text], ["proxy", "the proxy does not let us in in time"]);
  assert.equal(asked, 1);
  deaf.close();
});

const hop: Hop = hopTo(1080);
const destination = { address: "192.0.2.1", port: 25 };
const ipv6 = { address: "2001:db8::1", port: 25 };

test("SocksClient speaks RFC 1928 and RFC 1929, byte by byte", () => {
  const socks = new SocksClient(hop, destination);
  assert.equal(socks.start().toString("hex"), "050102");
  const steps: HopStep[] = [];
  for (const byte of Buffer.from("050201000500000104050607abcd", "hex"))
    steps.push(socks.push(Buffer.from([byte])));
  const writes = steps.flatMap((step) => (step.kind === "write" ? [step.bytes.toString("latin1")] : []));
  assert.deepEqual(writes, [
    "\u0001\u0004pods\u000aopensesame",
    "\u0005\u0001\u0000\u0001\u00c0\u0000\u0002\u0001\u0000\u0019",
  ]);
  assert.deepEqual(steps.at(-1), { kind: "through", rest: Buffer.alloc(0), address: "4.5.6.7" });
});

test("SocksClient hands on what came behind the reply, and reads every kind of bound address", () => {
  const bound = (reply: string): HopStep => {
    const { login: _, ...free } = hop;
    const socks = new SocksClient(free, ipv6);
    assert.equal(socks.start().toString("hex"), "050100");
    const asked = socks.push(Buffer.from("0500", "hex"));
    assert.ok(asked.kind === "write" && asked.reached);
    assert.equal(asked.bytes.toString("hex"), "05010004" + "20010db8000000000000000000000001" + "0019");
    return socks.push(Buffer.from(reply, "hex"));
  };
  assert.deepEqual(bound("05000001 00000000 0000 323230".replaceAll(" ", "")), {
    kind: "through",
    rest: Buffer.from("220"),
    address: "0.0.0.0",
  });
  const through = bound("05000003 03 612e62 0050".replaceAll(" ", ""));
  assert.ok(through.kind === "through" && through.address === "a.b");
  const v6 = bound("05000004 20010db8000000000000000000000002 0050".replaceAll(" ", ""));
  assert.ok(v6.kind === "through" && v6.address === "2001:db8::2");
  for (const [reply, byProxy] of [
    ["0501", true],
    ["0505", false],
    ["0504000100000000", false],
    ["0502", true],
    ["05ff", true],
  ] as const) {
    const step = bound(reply);
    assert.ok(step.kind === "refused" && step.byProxy === byProxy, reply);
  }
  assert.equal(bound("05000009").kind, "refused");
  assert.equal(bound("0500").kind, "wait");
});

test("SocksClient never throws, holds a bounded number of bytes and ends by itself, whatever comes", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 12 }),
      fc.boolean(),
      (chunks, hasLogin) => {
        const { login: _, ...free } = hop;
        const socks = new SocksClient(hasLogin ? hop : free, destination);
        socks.start();
        let waited = 0;
        for (const chunk of chunks) {
          const step = socks.push(Buffer.from(chunk));
          if (step.kind === "wait") waited += chunk.length;
          if (step.kind === "refused" || step.kind === "through") return;
        }
        assert.ok(waited < 1024, String(waited));
      },
    ),
    { numRuns: 2000 },
  );
});

test("proxyHeader() is the header of HAProxy's specification", () => {
  const header = proxyHeader("203.0.113.7", destination);
  assert.equal(
    header?.toString("hex"),
    "0d0a0d0a000d0a515549540a" + "2111" + "000c" + "cb007107" + "c0000201" + "0000" + "0019",
  );
  assert.equal(proxyHeader("2001:db8::7", ipv6)?.subarray(12, 16).toString("hex"), "21210024");
  assert.equal(proxyHeader("2001:db8::7", destination), undefined);
  assert.equal(proxyHeader("", destination), undefined);
});

test("openConnection() writes a PROXY header before it listens, and says which address it stands for", async () => {
  const heard: Buffer[] = [];
  const server = createServer((socket) => {
    socket.on("data", (chunk: Buffer) => heard.push(chunk));
    socket.on("error", () => {});
    socket.write("220 peer\r\n");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const through = client([{ host: "mx.test", ...destination }], {
    hop: { protocol: "PROXYv2", host: "127.0.0.1", port, address: "203.0.113.7", connectMs: 5000 },
    timeouts: { ...patient, commandMs: 200 },
  });
  const fault = await through.opened;
  assert.ok("kind" in fault && fault.stage === "ehlo");
  const said = Buffer.concat(heard);
  assert.equal(said.subarray(28).toString(), "EHLO me.test\r\n");
  assert.deepEqual(said.subarray(0, 28), proxyHeader("203.0.113.7", destination));
  server.close();
});
