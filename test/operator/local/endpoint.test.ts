import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCredentials } from "#operator/local/credentials.ts";
import { nextSteps, progressLine } from "#operator/local/demo-story.ts";
import {
  addressOf,
  adminBindOf,
  type Endpoint,
  hostPort,
  parseEndpoint,
  poolLines,
  readyJson,
  readyLine,
} from "#operator/local/endpoint.ts";

const pool = (name: string, base: number): Endpoint["pools"][number] => ({
  pool: name,
  smtp: hostPort("127.0.0.1", base),
  submission: hostPort("127.0.0.1", base + 1),
  submissions: hostPort("127.0.0.1", base + 2),
  http: hostPort("127.0.0.1", base + 3),
  admin: hostPort("127.0.0.1", base + 4),
  metrics: [hostPort("127.0.0.1", base + 5), hostPort("127.0.0.1", base + 6)],
});
const endpoint: Endpoint = {
  pools: [pool("mail/a", 2500), pool("mail/b", 2600)],
  nats: "nats://127.0.0.1:4222",
  adminTokenFile: "/s/admin.token",
  credentialsFile: "/s/credentials.json",
  ca: "/s/tls/ca.crt",
  pids: { runner: 1, nats: 2, pods: { "a-0": 3 } },
};

test("readyLine() is the one line that interface.md promises", () => {
  assert.equal(
    readyLine(endpoint),
    "ready smtp=127.0.0.1:2500 submission=127.0.0.1:2501 submissions=127.0.0.1:2502 http=127.0.0.1:2503 admin=127.0.0.1:2504 metrics=127.0.0.1:2505,127.0.0.1:2506",
  );
  assert.deepEqual(poolLines(endpoint), [
    readyLine({ ...endpoint, pools: endpoint.pools.slice(1) }).replace("ready", "pool mail/b"),
  ]);
});

test("readyJson() says the same as one object, and parseEndpoint() reads it back", () => {
  const value = JSON.parse(readyJson(endpoint)) as Record<string, unknown>;
  assert.equal(value["ready"], true);
  assert.equal(value["smtp"], "127.0.0.1:2500");
  assert.deepEqual(value["metrics"], ["127.0.0.1:2505", "127.0.0.1:2506"]);
  assert.deepEqual(parseEndpoint(readyJson(endpoint)), endpoint);
});

test("parseEndpoint() and parseCredentials() take nothing for what is something else", () => {
  for (const text of ["", "{", "[]", "{}", '{"pools":[]}']) {
    assert.equal(parseEndpoint(text), undefined);
    assert.deepEqual(parseCredentials(text), []);
  }
});

test("hostPort() puts brackets around IPv6", () => {
  assert.equal(hostPort("::1", 25), "[::1]:25");
});

test("addressOf() is this machine's own address where a server listens on all", () => {
  const cases: [string, string][] = [
    ["0.0.0.0", "127.0.0.1:25"],
    ["::", "[::1]:25"],
    ["0:0::0", "[::1]:25"],
    ["::1", "[::1]:25"],
    ["192.0.2.7", "192.0.2.7:25"],
    ["localhost", "localhost:25"],
  ];
  for (const [bind, address] of cases) assert.equal(addressOf(bind, 25), address);
});

test("adminBindOf() is loopback, the one that --bind names where it names one", () => {
  const cases: [string, string][] = [
    ["127.0.0.1", "127.0.0.1"],
    ["127.0.0.2", "127.0.0.2"],
    ["::1", "::1"],
    ["localhost", "localhost"],
    ["0.0.0.0", "127.0.0.1"],
    ["::", "::1"],
    ["192.0.2.7", "127.0.0.1"],
    ["2001:db8::7", "::1"],
    ["host.example", "127.0.0.1"],
  ];
  for (const [bind, address] of cases) assert.equal(adminBindOf(bind), address);
});

test("the demo's lines count what is open, and name the state folder only when it is another one", () => {
  const progress = { accepted: 60, delivered: 40, deferred: 12, bounced: 12 };
  assert.match(
    progressLine(progress, 4100),
    /after {2}4 s: 60 accepted, 40 delivered, 12 deferred .* 12 bounced, 8 on their way/,
  );
  assert.match(progressLine({ ...progress, delivered: 48 }, 4100), /nothing left in the queue/);
  const steps = (state: string): string =>
    nextSteps({ endpoint, state, bouncing: "01x", providerHttp: 9 }).join("\n");
  assert.match(steps(".mailboat"), /mailboat why 01x +what/);
  assert.match(steps("/tmp/s"), /mailboat why 01x --state \/tmp\/s/);
  assert.match(steps(".mailboat"), /kill -9 3 /);
});
