import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { mailboat } from "#test/kit/command-line.ts";

interface AdminPort extends AsyncDisposable {
  readonly state: string;
  readonly url: string;
  /** `METHOD PATH BODY` of each request. */
  readonly asked: string[];
}

/** An admin port that gives prepared answers by path, and the state folder that names it. */
async function adminPort(answers: Readonly<Record<string, unknown>>): Promise<AdminPort> {
  const asked: string[] = [];
  const answerTo = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks = await request.toArray();
    asked.push(`${request.method} ${request.url} ${Buffer.concat(chunks as Buffer[]).toString()}`.trim());
    const answer = answers[(request.url ?? "").split("?")[0] ?? ""];
    const found = answer === undefined ? 404 : 200;
    response.writeHead(request.headers.authorization === "Bearer secret" ? found : 401);
    response.end(JSON.stringify(answer ?? { error: "no such message" }));
  };
  const server = createServer((request, response) => void answerTo(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const admin = `127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
  const state = await mkdtemp(join(tmpdir(), "mailboat-test-cli-"));
  await mkdir(state, { recursive: true });
  await writeFile(join(state, "admin.token"), "secret\n");
  await writeEndpoint(state, { "mail/a": admin });
  return {
    state,
    url: `http://${admin}`,
    asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await rm(state, { recursive: true });
    },
  };
}

/** What local mode says of pools with these admin ports. */
async function writeEndpoint(
  state: string,
  admins: Readonly<Record<string, string>>,
  tokenFile = join(state, "admin.token"),
): Promise<void> {
  const nowhere = "127.0.0.1:1";
  const others = { smtp: nowhere, submission: nowhere, submissions: nowhere, http: nowhere, metrics: [] };
  const endpoint = {
    pools: Object.entries(admins).map(([pool, admin]) => ({ pool, admin, ...others })),
    nats: "nats://127.0.0.1:1",
    adminTokenFile: tokenFile,
    credentialsFile: join(state, "credentials.json"),
    ca: join(state, "ca.crt"),
    pids: { runner: 1, pods: {} },
  };
  await writeFile(join(state, "endpoint.json"), JSON.stringify(endpoint));
}

/** The state folder of one local mode with a pool for each of them: mail/a, mail/b, and so on. */
async function asPools(first: AdminPort, ...others: readonly { readonly url: string }[]): Promise<string> {
  const state = await mkdtemp(join(first.state, "pools-"));
  const ports = [first, ...others].map(({ url }, index) => [
    `mail/${"abc"[index]}`,
    url.replace("http://", ""),
  ]);
  await writeEndpoint(state, Object.fromEntries(ports), join(first.state, "admin.token"));
  return state;
}

const entry = {
  id: "01m87d60b4x4q30591x00013bs",
  tenant: "mail/acme",
  stream: "default",
  class: "transactional",
  site: "mx:abc",
  from: "a@acme.example",
  to: ["b@x.example", "c@x.example"],
  size: 10_240,
  receivedAt: Date.now() - 60_000,
  expiresAt: Date.now() + 3_600_000,
  attempt: 2,
  state: "waiting",
  due: Date.now() + 300_000,
  shard: 3,
  pod: "a-0",
};

test("wrong usage ends with 2 and says what was expected", async () => {
  const cases: [string[], RegExp][] = [
    [[], /Usage: mailboat/],
    [["nonsense"], /unknown command/],
    [["local"], /Cannot start: expected -f FILE, -f DIR or --demo, got none of them/],
    [["local", "--demo", "--pods", "x"], /Cannot read --pods: expected a whole number of 1 to 64, got "x"/],
    [["local", "--demo", "--smtp-port", "70000"], /--smtp-port: expected a whole number of 0 to 65535/],
    [["validate"], /Cannot validate: expected -f/],
    [["send"], /required option '--to/],
    [["send", "--to", "a@b.example", "--count", "0"], /--count: expected a whole number/],
    [["send", "--to", "a@b.example", "--url", "http://x"], /Cannot use --url: expected smtp:/],
    [["send", "--to", "bad"], /Cannot read --to: expected an address with a domain such as .*, got "bad"/],
    [["send", "--to", "a@b.example", "--to", "a@"], /Cannot read --to: expected .*, got "a@"/],
    [["send", "--to", "A <a@b.example>", "--from", "@b.example"], /Cannot read --from: .*, got "@b.example"/],
    [["queue", "bounce"], /expected --tenant, --site, --domain or --id \(or --all for everything/],
    [["queue", "retry", "--all", "--id", "1"], /expected either a selection or --all, got both/],
    [["queue", "suspend"], /expected --tenant, --site, --domain or --id \(or --all/],
    [
      ["queue", "suspend", "--all", "--for", "soon"],
      /expected --for with a duration such as 30m, got "soon"/,
    ],
    [["queue", "ls", "--limit", "-1"], /Cannot read --limit/],
    [["queue", "ls", "--limit", "1001"], /Cannot read --limit: expected a whole number of 1 to 1000/],
    [["why"], /missing required argument/],
    [["why", "../x"], /Cannot look up a message/],
    [["provider", "--port", "x"], /Cannot read --port/],
    [
      ["operator", "--namespace", "a", "--pod-image", "b", "--pod-monitor-label", "release"],
      /Cannot start: expected --pod-monitor-label NAME=VALUE, got "release"/,
    ],
  ];
  for (const [args, said] of cases) {
    const { code, err } = await mailboat(...args);
    assert.equal(code, 2, args.join(" "));
    assert.match(err, said);
  }
});

test("help ends with 0 and names every command and the exit codes", async () => {
  const { code, out } = await mailboat("--help");
  assert.equal(code, 0);
  for (const name of ["local", "pod", "validate", "send", "queue", "why", "top", "provider", "Exit codes"])
    assert.match(out, new RegExp(`\\b${name}\\b`));
  for (const command of ["local", "queue", "why", "send", "top", "provider", "validate"])
    assert.equal((await mailboat(command, "--help")).code, 0, command);
});

test("commands that find nothing running end with 1 and say where they looked", async () => {
  for (const args of [["why", "1"], ["queue", "ls"], ["top"], ["send", "--to", "a@b.example"]]) {
    const { code, err } = await mailboat(...args, "--state", "/nonexistent");
    assert.equal(code, 1);
    assert.match(
      err,
      /Cannot find a running Mailboat: expected \/nonexistent\/endpoint\.json .* got no such file/,
    );
    assert.doesNotMatch(err, / at .*\.ts/);
  }
});

test("queue ls shows entries, and asks only for what was selected", async () => {
  await using admin = await adminPort({ "/v1/queue": { entries: [entry], truncated: true } });
  const { code, out } = await mailboat("queue", "ls", "--state", admin.state, "--tenant", "mail/acme");
  assert.equal(code, 0);
  assert.match(
    out,
    /01m87d60b4x4q30591x00013bs +mail\/acme +mx:abc +b@x\.example \+1 +10\.2 KB +1m\ds +2 +waiting +in (5m0s|4m5\ds)/,
  );
  assert.match(out, /and more/);
  assert.deepEqual(admin.asked, ["GET /v1/queue?tenant=mail%2Facme&limit=100"]);
  const json = await mailboat("queue", "ls", "--state", admin.state, "--json");
  assert.deepEqual(JSON.parse(json.out), { entries: [entry], truncated: true });
});

test("queue ls does not say that mail goes now which a suspension, Hold or its being parked keeps", async () => {
  const cases: [object, string][] = [
    [{ state: "ready", due: 0 }, "now"],
    [{ state: "waiting", due: Date.now() - 1000 }, "now"],
    [{ state: "suspended", due: 0 }, "suspended"],
    [{ state: "suspended", due: 0, stopped: "suspended" }, "suspended"],
    [{ state: "suspended", due: 0, stopped: "held" }, "held"],
    [{ state: "waiting", stopped: "suspended" }, "suspended"],
    [{ state: "parked", due: 0 }, "parked"],
  ];
  const entries = cases.map(([fields]) => ({ ...entry, ...fields }));
  await using admin = await adminPort({ "/v1/queue": { entries, truncated: false } });
  const { out } = await mailboat("queue", "ls", "--state", admin.state);
  const shown = out.split("\n").slice(1);
  assert.deepEqual(
    shown.map((line) => line.split(/ +/).at(-1)),
    cases.map(([, next]) => next),
  );
});

test("queue ls says how to see more: a higher limit only while there is one and it was the limit that ended the list", async () => {
  const some = { entries: [entry, entry], truncated: true };
  await using admin = await adminPort({ "/v1/queue": some });
  const said = async (...args: string[]): Promise<string | undefined> =>
    (await mailboat("queue", "ls", "--state", admin.state, ...args)).out.split("\n").at(-1);
  assert.equal(await said("--limit", "2"), "and more: --limit 20 shows more of them");
  for (const limit of ["100", "1000"])
    assert.equal(
      await said("--limit", limit),
      "and more: --tenant, --site, --domain or --id shows a part of them",
    );
  await using full = await adminPort({
    "/v1/queue": { entries: Array.from({ length: 200 }, () => entry), truncated: true },
  });
  const { out } = await mailboat("queue", "ls", "--state", full.state, "--limit", "200");
  assert.match(out, /and more: --limit 1000 shows more of them$/);
  await using none = await adminPort({ "/v1/queue": { entries: [], truncated: true } });
  const { out: nothing } = await mailboat("queue", "ls", "--state", none.state, "--domain", "x.example");
  assert.match(nothing, /^nothing was found in the time there is/);
});

function acted(fields: object): object {
  return { affected: 0, looked: 2, total: 2, isDone: true, job: "J1", pods: ["a-0"], silent: [], ...fields };
}

test("queue actions post the selection, and end with 1 when nothing was affected", async () => {
  await using admin = await adminPort({
    "/v1/queue/bounce": acted({ affected: 2 }),
    "/v1/queue/retry": acted({ affected: 0 }),
  });
  const bounced = await mailboat("queue", "bounce", "--state", admin.state, "--domain", "x.example");
  assert.deepEqual([bounced.code, bounced.out], [0, "bounce: 2 entries"]);
  const retried = await mailboat("queue", "retry", "--state", admin.state, "--all");
  assert.deepEqual([retried.code, retried.out], [1, "retry: 0 entries"]);
  assert.deepEqual(admin.asked, [
    'POST /v1/queue/bounce {"domain":"x.example"}',
    'POST /v1/queue/retry {"all":true}',
  ]);
});

test("a long act is followed to its end, and a pod that ended meanwhile is named", async () => {
  await using admin = await adminPort({
    "/v1/queue/bounce": acted({ affected: 5, looked: 9, total: 90, isDone: false, pods: ["a-0", "a-1"] }),
    "/v1/acts/J1": acted({ affected: 60, looked: 80, total: 80 }),
  });
  const { code, out, err } = await mailboat("queue", "bounce", "--state", admin.state, "--all");
  assert.deepEqual([code, out], [1, "bounce: 60 entries"]);
  assert.match(err, /9 of 90 looked at, 5 done/);
  assert.match(err, /no answer from a-1/);
});

test("an act that a pod was interrupted in ends with 1 and says so", async () => {
  const interrupted = ["a-0"];
  await using admin = await adminPort({ "/v1/queue/bounce": acted({ affected: 5, interrupted }) });
  const { code, out, err } = await mailboat("queue", "bounce", "--state", admin.state, "--all");
  assert.deepEqual([code, out], [1, "bounce: 5 entries"]);
  assert.match(
    err,
    /^a-0 gave shards away or split messages meanwhile: some of them may be left as they were, bounce again$/,
  );
});

test("queue's commands take the same selectors, and their help lists them", async () => {
  for (const name of ["ls", "bounce", "retry", "suspend", "resume"]) {
    const { out } = await mailboat("queue", name, "--help");
    const listed = out.match(/^ +--(?:tenant|site|domain|id) /gm)?.map((line) => line.trim());
    assert.deepEqual(listed, ["--tenant", "--site", "--domain", "--id"], name);
  }
});

test("queue suspend and resume say what holds now, where, and until when", async () => {
  const answer = { affected: 3, suspensions: 1, pods: ["a-0"], pending: [] };
  await using admin = await adminPort({
    "/v1/queue/suspend": answer,
    "/v1/queue/resume": { ...answer, suspensions: 0, pending: ["a-1"] },
  });
  const one = await mailboat("queue", "suspend", "--state", admin.state, "--tenant", "acme", "--for", "30m");
  assert.deepEqual([one.code, one.out], [0, "suspend: 3 entries now, and what comes, for 30m"]);
  const message = await mailboat("queue", "suspend", "--state", admin.state, "--id", "01jz");
  assert.match(message.out, /, until resumed, or 168 h after it was accepted$/);
  const none = await mailboat("queue", "resume", "--state", admin.state, "--all");
  assert.deepEqual([none.code, none.out], [1, "resume: 0 suspensions lifted"]);
  assert.match(none.err, /not yet confirmed by a-1/);
  assert.deepEqual(admin.asked, [
    'POST /v1/queue/suspend {"tenant":"acme","forSeconds":1800}',
    'POST /v1/queue/suspend {"id":"01jz"}',
    'POST /v1/queue/resume {"all":true}',
  ]);
});

test("a refusal is told in the server's words, as it said them", async () => {
  const server = createServer((_, response) =>
    response.writeHead(404).end(JSON.stringify({ error: { message: 'no tenant is called "nosuch"' } })),
  );
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const options = ["--tenant", "nosuch", "--url", `http://127.0.0.1:${port}`];
  const { code, err } = await mailboat("queue", "suspend", ...options);
  server.close();
  assert.equal(code, 1);
  assert.match(err, /got 404 \(no tenant is called "nosuch"\)$/);
});

test("why tells the story of a message, without control characters of strangers", async () => {
  const event = {
    time: 1_700_000_000_000,
    type: "deferred",
    to: ["b@x.example"],
    mx: "mx.x.example",
    pod: "a-0",
  };
  const answer = {
    id: entry.id,
    events: [
      { ...event, code: 451, enhanced: "4.7.1", text: "slow\u001b[2Jdown", nextAttempt: 1_700_000_600_000 },
    ],
    entries: [entry],
    binding: "messageRate",
    nextAttempt: Date.now() + 60_000,
  };
  await using admin = await adminPort({ [`/v1/messages/${entry.id}`]: answer });
  const { code, out } = await mailboat("why", entry.id, "--state", admin.state);
  assert.equal(code, 0);
  assert.match(
    out,
    /2023-11-14 22:13:20\.000 deferred +for b@x\.example by mx\.x\.example "451 4\.7\.1 slow \[2Jdown"/,
  );
  assert.match(out, /held back by messageRate/);
  assert.match(out, /next attempt in (1m0s|5\ds)/);
  const unknown = await mailboat("why", "01m87d60b4x4q30591x00013zz", "--state", admin.state);
  assert.deepEqual([unknown.code, /not known here/.test(unknown.out)], [1, true]);
});

test("why says the code of a reply once, also of an attempt whose text begins with its stage", async () => {
  const event = { time: 1_700_000_000_000, type: "attempted", pod: "a-0", code: 421, enhanced: "4.7.0" };
  const texts = {
    "greeting: 421 4.7.0 too many connections": "greeting: 421 4.7.0 too many connections",
    // Of a release before, whose events are kept for three days.
    "greeting: the peer closes the session": "421 4.7.0 greeting: the peer closes the session",
  };
  const events = Object.keys(texts).map((text) => ({ ...event, text }));
  await using admin = await adminPort({
    [`/v1/messages/${entry.id}`]: { id: entry.id, events, entries: [] },
  });
  const { out } = await mailboat("why", entry.id, "--state", admin.state);
  const shown = [...out.matchAll(/"(.*)"/g)].map(([, words]) => words);
  assert.deepEqual(shown, Object.values(texts));
});

test("why and top say which pods did not answer, and not that nothing is queued", async () => {
  const event = { time: 1_700_000_000_000, type: "received", pod: "a-0" };
  const message = { id: entry.id, events: [event], entries: [], silent: ["a-1"] };
  const other = "01m87d60b4x4q30591x00013zz";
  await using admin = await adminPort({
    [`/v1/messages/${entry.id}`]: message,
    [`/v1/messages/${other}`]: { ...message, id: other, events: [] },
    "/v1/top": { tenants: [], sites: [], silent: ["a-1", "a-2"] },
  });
  const known = await mailboat("why", entry.id, "--state", admin.state);
  assert.deepEqual([known.code, known.err], [0, "no answer from a-1: what is queued there is not shown"]);
  assert.match(known.out, /nothing of it is queued in the pods that answered/);
  const unknown = await mailboat("why", other, "--state", admin.state);
  assert.deepEqual([unknown.code, /no answer from a-1/.test(unknown.err)], [1, true]);
  const top = await mailboat("top", "--state", admin.state);
  assert.match(top.err, /no answer from a-1, a-2/);
});

test("top shows tenants, sites and sources once when the output is no terminal", async () => {
  const tenant = {
    tenant: "mail/acme",
    ready: 1,
    waiting: 2,
    suspended: 3,
    oldestSeconds: 75,
    receivedPerSecond: 1.25,
    deliveredPerSecond: 0,
  };
  const site = { site: "mx:abc", queued: 6, open: 2, window: 4, binding: "connections", backoffUntil: 0 };
  const source = { source: "default", open: 2, sites: 1, attemptsPerSecond: 3, deliveredPerSecond: 2.5 };
  await using admin = await adminPort({ "/v1/top": { tenants: [tenant], sites: [site], sources: [source] } });
  const { code, out } = await mailboat("top", "--state", admin.state);
  assert.equal(code, 0);
  assert.match(out, /mail\/acme +1 +2 +3 +1m15s +1\.3 +0\.0/);
  assert.match(out, /mx:abc +6 +2 +4 +0\.0 +connections/);
  assert.match(out, /default +2 +1 +3\.0 +2\.5/);
});

const unreachable = { url: "http://127.0.0.1:1" };
const told = (id: string): object => ({
  id,
  events: [{ time: 1_700_000_000_000, type: "received", pod: "b-0" }],
  entries: [],
});

test("why asks every pool, says which one knows the message, and how many were asked when none does", async () => {
  await using a = await adminPort({});
  await using b = await adminPort({ [`/v1/messages/${entry.id}`]: told(entry.id) });
  const state = await asPools(a, b);
  const known = await mailboat("why", entry.id, "--state", state);
  assert.deepEqual([known.code, known.err], [0, ""]);
  assert.match(known.out, new RegExp(`^message ${entry.id} in pool mail/b\n.* received`));
  const json = await mailboat("why", entry.id, "--state", state, "--json");
  assert.deepEqual(JSON.parse(json.out), { pool: "mail/b", ...told(entry.id) });
  const unknown = await mailboat("why", "nobodys", "--state", state);
  assert.deepEqual([unknown.code, unknown.err], [1, ""]);
  assert.match(unknown.out, /^nobodys: not known here: .*; 2 pools were asked$/);
  const one = await mailboat("why", entry.id, "--state", state, "--pool", "a");
  assert.deepEqual([one.code, /pools were asked/.test(one.out)], [1, false]);
});

test("a pool that cannot be asked is named, and the others are shown", async () => {
  await using a = await adminPort({
    [`/v1/messages/${entry.id}`]: told(entry.id),
    "/v1/queue": { entries: [entry], truncated: false },
    "/v1/top": { tenants: [], sites: [] },
  });
  const state = await asPools(a, unreachable);
  const cases: [string[], number, RegExp][] = [
    [["why", entry.id], 0, /in pool mail\/a/],
    [["why", "nobodys"], 1, /not known here: .*; 1 of 2 pools could be asked$/],
    [["queue", "ls"], 1, /^pool mail\/a\nID/],
    [["top"], 1, /^pool mail\/a\nTENANT/],
  ];
  for (const [args, wanted, shown] of cases) {
    const { code, out, err } = await mailboat(...args, "--state", state);
    assert.equal(code, wanted, args.join(" "));
    assert.match(out, shown);
    assert.match(err, /^pool mail\/b could not be asked: Cannot reach http:\/\/127\.0\.0\.1:1/);
  }
});

test("top tells what is suspended: of a message or a domain not that everything is", async () => {
  const said = { by: "a-0", at: Date.now() };
  const suspensions = [{}, { tenant: "mail/acme", site: "mx:1" }, { domain: "x.example" }, { id: "m1" }];
  await using admin = await adminPort({
    "/v1/top": { tenants: [], sites: [], suspensions: suspensions.map((one) => ({ ...one, ...said })) },
  });
  const { out } = await mailboat("top", "--state", admin.state);
  const rows = out.split("\n").slice(-5);
  assert.deepEqual(
    rows.map((row) => row.split(/ {2,}/).slice(0, 4)),
    [
      ["SUSPENDED TENANT", "SITE", "DOMAIN", "ID"],
      ["all", "all", "all", "all"],
      ["mail/acme", "mx:1", "all", "all"],
      ["all", "all", "x.example", "all"],
      ["all", "all", "all", "m1"],
    ],
  );
});

test("queue ls and top show every pool under its name, in JSON one object each", async () => {
  const other = { ...entry, id: "01m87d60b4x4q30591x00013zz" };
  const empty = { tenants: [], sites: [] };
  await using a = await adminPort({ "/v1/queue": { entries: [entry], truncated: false }, "/v1/top": empty });
  await using b = await adminPort({ "/v1/queue": { entries: [other], truncated: false }, "/v1/top": empty });
  await using c = await adminPort({ "/v1/queue": { entries: [], truncated: false }, "/v1/top": empty });
  const state = await asPools(a, b, c);
  const listed = await mailboat("queue", "ls", "--state", state);
  assert.match(
    listed.out,
    new RegExp(
      `^pool mail/a\nID .*\n${entry.id} .*\n\npool mail/b\nID .*\n${other.id} .*\n\npool mail/c\nnothing is queued$`,
    ),
  );
  const top = await mailboat("top", "--state", state);
  assert.deepEqual(top.out.match(/^pool .*/gm), ["pool mail/a", "pool mail/b", "pool mail/c"]);
  const json = await mailboat("top", "--state", state, "--json");
  assert.deepEqual(
    json.out.split("\n").map((line) => JSON.parse(line)),
    ["mail/a", "mail/b", "mail/c"].map((pool) => ({ pool, ...empty })),
  );
  const chosen = await mailboat("queue", "ls", "--state", state, "--pool", "b", "--json");
  assert.deepEqual(JSON.parse(chosen.out), { entries: [other], truncated: false });
});

test("sink ls and show look in every pool, and name those that took something", async () => {
  const sunk = { id: "S1", at: 0, tenant: "mail/acme", from: "a@b.example", to: ["c@d.example"] };
  const message = { ...sunk, site: "mx:1", source: "default", ehlo: "out.example", size: 3 };
  await using a = await adminPort({ "/v1/sink": { messages: [] } });
  await using b = await adminPort({
    "/v1/sink": { messages: [message] },
    "/v1/sink/S1": { ...message, message: Buffer.from("abc").toString("base64") },
  });
  const state = await asPools(a, b);
  const listed = await mailboat("sink", "ls", "--state", state);
  assert.match(listed.out, /^pool mail\/b\nID .*\nS1 /);
  const shown = await mailboat("sink", "show", "S1", "--state", state);
  assert.deepEqual([shown.code, shown.out], [0, "abc"]);
  const missing = await mailboat("sink", "show", "S9", "--state", state);
  assert.match(missing.err, /got none of this id in 2 pools/);
  const nothing = await mailboat("sink", "ls", "--state", await asPools(a, a));
  assert.match(nothing.out, /^nothing was taken in any of 2 pools/);
  const one = await mailboat("sink", "ls", "--state", state, "--pool", "a");
  assert.match(one.out, /^nothing was taken: is the pool's egress/);
});

test("an act goes to the pool that its tenant or message is in, or says that it needs --pool and does nothing", async () => {
  const suspended = { affected: 3, suspensions: 1, pods: ["b-0"], pending: [] };
  const acts = {
    "/v1/queue/bounce": acted({ affected: 1 }),
    "/v1/queue/retry": acted({ affected: 1 }),
    "/v1/queue/suspend": suspended,
    "/v1/queue/resume": suspended,
  };
  await using a = await adminPort({ ...acts, "/v1/tenants": { tenants: [] } });
  await using b = await adminPort({
    ...acts,
    "/v1/tenants": { tenants: ["mail/acme"] },
    [`/v1/messages/${entry.id}`]: told(entry.id),
  });
  const state = await asPools(a, b);
  const posts = (): string[] => [...a.asked, ...b.asked].filter((line) => line.startsWith("POST"));
  const done: [string[], RegExp][] = [
    [["suspend", "--tenant", "acme"], /^suspend: 3 entries in pool mail\/b now, and what comes/],
    [["resume", "--tenant", "acme", "--site", "mx:1"], /^resume: 1 suspension lifted in pool mail\/b$/],
    [["retry", "--tenant", "mail/acme", "--domain", "x.example"], /^retry: 1 entry in pool mail\/b$/],
    [["bounce", "--id", entry.id], /^bounce: 1 entry in pool mail\/b$/],
  ];
  for (const [args, said] of done) {
    const { code, out } = await mailboat("queue", ...args, "--state", state);
    assert.deepEqual([code, said.test(out)], [0, true], `${args.join(" ")}: ${out}`);
  }
  assert.ok(b.asked.includes("GET /v1/tenants?name=mail%2Facme"));
  assert.deepEqual([posts().length, a.asked.filter((line) => line.startsWith("POST"))], [done.length, []]);
  const both = await asPools(b, b);
  const none = await asPools(a, a);
  const refused: [string, string[], number, RegExp][] = [
    [
      state,
      ["suspend", "--all"],
      2,
      /Cannot suspend: expected --pool with one of mail\/a, mail\/b, .* got neither/,
    ],
    [state, ["resume", "--site", "mx:1"], 2, /expected --pool with one of mail\/a, mail\/b/],
    [state, ["bounce", "--domain", "x.example"], 2, /expected --pool with one of mail\/a, mail\/b/],
    [state, ["retry", "--all"], 2, /expected --pool with one of mail\/a, mail\/b/],
    [state, ["bounce", "--id", "nobodys"], 1, /expected a message of one of the pools mail\/a, mail\/b/],
    [
      none,
      ["retry", "--tenant", "acme"],
      1,
      /expected a tenant of one of the pools mail\/a, mail\/b \(or --pool\), got "acme"/,
    ],
    [both, ["retry", "--tenant", "acme"], 2, /one of mail\/a, mail\/b, which all have "acme"; got none/],
  ];
  for (const [where, args, wanted, said] of refused) {
    const { code, err } = await mailboat("queue", ...args, "--state", where);
    assert.deepEqual([code, said.test(err)], [wanted, true], `${args.join(" ")}: ${err}`);
  }
  assert.equal(posts().length, done.length);
});

test("a refused token, another version's answer and an unreachable server end with 1", async () => {
  await using admin = await adminPort({ "/v1/top": { something: "else" } });
  const wrong = await mailboat("top", "--url", admin.url);
  assert.deepEqual([wrong.code, /expected its admin token \(--token-file\)/.test(wrong.err)], [1, true]);
  const other = await mailboat("top", "--state", admin.state);
  assert.deepEqual([other.code, /Cannot read the server's answer at "tenants"/.test(other.err)], [1, true]);
  const away = await mailboat("top", "--url", "http://127.0.0.1:1");
  assert.deepEqual(
    [away.code, /Cannot reach http:\/\/127\.0\.0\.1:1: expected a running Mailboat/.test(away.err)],
    [1, true],
  );
  const chosen = await mailboat("top", "--state", admin.state, "--pool", "b");
  assert.match(chosen.err, /expected one of mail\/a, got "b"/);
});

test("validate passes on what is wrong as exit code 1", async () => {
  const { code, out } = await mailboat("validate", "-f", "/nonexistent.yaml");
  assert.equal(code, 1);
  assert.match(out, /nonexistent\.yaml/);
});

test("provider refuses rules that it does not understand, and says where", async () => {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-test-cli-"));
  const file = join(folder, "rules.yaml");
  await writeFile(file, "rules:\n- domains: [x.example]\n  bounce: {code: 250}\n");
  const { code, err } = await mailboat("provider", "-f", file);
  assert.equal(code, 1);
  assert.match(err, /Cannot use .*rules\.yaml: rules\[0\]\.bounce\.code: expected at least 500, got 250$/);
  await rm(folder, { recursive: true });
});
