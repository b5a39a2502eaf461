import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startAdmin } from "#mta-pod/http-in/admin.ts";
import { mailboat } from "#test/kit/command-line.ts";

const named = (namespace: string, name: string, more: object = {}): object => ({
  metadata: { namespace, name },
  ...more,
});
const secret = (data: Record<string, string>): object => ({
  data: Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString("base64")]),
  ),
});
const tenantSpec = {
  poolRef: { name: "shared" },
  domains: [{ name: "acme.example" }],
  credentials: [{ name: "app", type: "Password", secretRef: { name: "acme-smtp" } }],
};

const told = (id: string): object => ({
  id,
  events: [{ time: 1_700_000_000_000, type: "received", pod: "p" }],
  entries: [],
});

interface Cluster extends AsyncDisposable {
  /** Options that lead there. */
  readonly options: string[];
  /** `METHOD PATH` of each request, with what arrived at a Service. */
  readonly asked: string[];
}

/** An API server with what is given by path, in front of a pool's real admin port and a pretended injection port. */
async function cluster(objects: Readonly<Record<string, unknown>>): Promise<Cluster> {
  const asked: string[] = [];
  const admin = await startAdmin({
    host: "127.0.0.1",
    port: 0,
    reusePort: false,
    token: () => "admin-token",
    hooks: {
      queue: async () => ({ entries: [], truncated: false }),
      message: async (id) => (id === "M1" ? { id, events: [], entries: [] } : id === "M2" ? told(id) : null),
      top: async () => ({ tenants: [], sites: [] }),
      tenants: async (name) => ({ tenants: name === "acme" ? ["mail/acme"] : [] }),
      act: async () => ({
        affected: 1,
        looked: 1,
        total: 1,
        isDone: true,
        job: "J",
        pods: ["p"],
        silent: [],
      }),
      progress: async () => null,
      suspend: async () => ({}),
      resume: async () => ({}),
      sunk: async () => [],
      sunkMessage: async () => null,
      witness: async () => ({}),
    },
  });
  const injected = (who: string | undefined, response: ServerResponse): void => {
    const isKnown = who === `Basic ${Buffer.from("acme:secret").toString("base64")}`;
    response.writeHead(isKnown ? 202 : 401, { "content-type": "application/json" });
    const refusal = { error: { code: "535 5.7.8", message: "authentication failed" } };
    response.end(JSON.stringify(isKnown ? { id: "M2", recipients: 1 } : refusal));
  };
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = request.url ?? "";
    const body = Buffer.concat((await request.toArray()) as Buffer[]);
    asked.push(`${request.method} ${path}`);
    if (request.headers.authorization !== "Bearer of-the-user")
      return void response.writeHead(401).end(JSON.stringify({ reason: "Unauthorized", message: "who?" }));
    const [, service = "", port, rest] =
      /^\/api\/v1\/namespaces\/mail\/services\/([^:]+):(\d+)\/proxy(.*)$/.exec(path) ?? [];
    if (rest !== undefined) {
      // As the real one: who asked the API server is nobody's else business.
      const { authorization: _, host: __, ...headers } = request.headers;
      if (service === "mailboat-shared" && port === "8025")
        return injected(headers["x-mailboat-authorization"]?.toString(), response);
      assert.deepEqual([service, port], ["mailboat-shared-admin", "8026"]);
      const { method = "GET" } = request;
      const passed = await fetch(`http://127.0.0.1:${admin.port}${rest}`, {
        method,
        headers: Object.entries(headers).flatMap(([name, value]) =>
          typeof value === "string" && name !== "connection" && name !== "content-length"
            ? [[name, value] as [string, string]]
            : [],
        ),
        ...(body.length === 0 ? {} : { body: body.toString() }),
      });
      response.writeHead(passed.status, { "content-type": "application/json" });
      return void response.end(await passed.text());
    }
    const found = objects[path];
    const missing = { kind: "Status", reason: "NotFound", message: `"${path}" not found` };
    response.writeHead(found === undefined ? 404 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(found ?? missing));
  };
  const server = createServer((request, response) => void answer(request, response));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const folder = await mkdtemp(join(tmpdir(), "mailboat-test-cluster-"));
  const kubeconfig = join(folder, "config");
  await writeFile(
    kubeconfig,
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      "current-context": "here",
      contexts: [{ name: "here", context: { cluster: "c", user: "u" } }],
      clusters: [
        { name: "c", cluster: { server: `http://127.0.0.1:${port}`, "insecure-skip-tls-verify": true } },
      ],
      users: [{ name: "u", user: { token: "of-the-user" } }],
    }),
  );
  return {
    options: ["--kubeconfig", kubeconfig],
    asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await admin.close(5000);
      await rm(folder, { recursive: true });
    },
  };
}

const pools = "/apis/mailboat.dev/v1alpha1/sendingpools";
const tenants = "/apis/mailboat.dev/v1alpha1/tenants";
const objects = {
  [pools]: { items: [named("mail", "shared")] },
  [tenants]: {
    items: [
      named("mail", "other", { spec: { ...tenantSpec, poolRef: { name: "other" } } }),
      named("mail", "acme", { spec: tenantSpec }),
    ],
  },
  "/api/v1/namespaces/mail/secrets/mailboat-shared-admin": secret({ token: "admin-token" }),
  "/api/v1/namespaces/mail/secrets/acme-smtp": secret({ username: "acme", password: "secret" }),
};

test("commands find the pool of a cluster and ask its admin port through the API server", async () => {
  await using api = await cluster(objects);
  const listed = await mailboat("queue", "ls", ...api.options);
  assert.deepEqual([listed.code, listed.out, listed.err], [0, "nothing is queued", ""]);
  assert.deepEqual(api.asked, [
    `GET ${pools}`,
    "GET /api/v1/namespaces/mail/secrets/mailboat-shared-admin",
    "GET /api/v1/namespaces/mail/services/mailboat-shared-admin:8026/proxy/v1/queue?limit=100",
  ]);
  assert.equal((await mailboat("why", "M1", ...api.options)).code, 1);
  const unknown = await mailboat("why", "M9", ...api.options);
  assert.deepEqual([unknown.code, unknown.err], [1, ""]);
  const retried = await mailboat("queue", "retry", "--all", ...api.options, "--pool", "mail/shared");
  assert.deepEqual([retried.code, retried.out], [0, "retry: 1 entry"]);
});

test("send goes through the API server as the pool's first tenant, or as who is named", async () => {
  await using api = await cluster(objects);
  const sent = await mailboat("send", "--to", "b@b.example", ...api.options);
  assert.deepEqual([sent.code, sent.out, sent.err], [0, "queued as M2 for b@b.example", ""]);
  const wrong = ["--user", "acme", "--password", "wrong", "--from", "a@acme.example"];
  const refused = await mailboat("send", "--to", "b@b.example", ...wrong, ...api.options);
  assert.equal(refused.code, 1);
  assert.match(refused.out, /refused for b@b\.example: .*authentication failed/);
  const status = { domains: [{ name: "acme.example", reason: "DomainConflict" }] };
  const items = [named("mail", "acme", { spec: tenantSpec, status })];
  await using conflict = await cluster({ ...objects, [tenants]: { items } });
  const nothing = await mailboat("send", "--to", "b@b.example", ...conflict.options);
  assert.deepEqual([nothing.code, nothing.err], [2, "Cannot send: expected --from ADDRESS, got none"]);
  const half = await mailboat("send", "--to", "b@b.example", "--user", "acme", ...api.options);
  assert.equal(half.code, 2);
});

test("without --pool every pool of a cluster is asked, and what cannot be asked is named", async () => {
  await using api = await cluster({
    ...objects,
    [pools]: { items: [named("mail", "shared"), named("mail", "other")] },
  });
  const known = await mailboat("why", "M2", ...api.options);
  assert.equal(known.code, 0);
  assert.match(known.out, /^message M2 in pool mail\/shared/);
  assert.match(known.err, /^pool mail\/other could not be asked: .*mailboat-other-admin/);
  assert.equal(api.asked.filter((line) => line === `GET ${pools}`).length, 1);
  const listed = await mailboat("queue", "ls", ...api.options);
  assert.deepEqual([listed.code, listed.out], [1, "pool mail/shared\nnothing is queued"]);
  const acted = await mailboat("queue", "retry", "--all", ...api.options);
  assert.equal(acted.code, 2);
  assert.match(acted.err, /expected --pool with one of mail\/shared, mail\/other/);
  assert.ok(!api.asked.some((line) => line.startsWith("POST")));
  const found = await mailboat("queue", "retry", "--tenant", "acme", ...api.options);
  assert.deepEqual([found.code, found.out], [0, "retry: 1 entry in pool mail/shared"]);
});

test("what stands in the way is said: no pool, several, no right, no such context", async () => {
  await using none = await cluster({ [pools]: { items: [] } });
  await using several = await cluster({ [pools]: { items: [named("a", "one"), named("b", "two")] } });
  await using bare = await cluster({ [pools]: objects[pools] });
  const cases: [string[], RegExp][] = [
    [none.options, /Cannot choose the pool: expected --pool with one of none, got no pool at all/],
    [
      several.options,
      /^pool a\/one could not be asked: .* 404 NotFound .*\npool b\/two could not be asked: .* 404 /,
    ],
    [[...several.options, "--pool", "three"], /expected --pool with one of a\/one, b\/two, got "three"/],
    [bare.options, /404 NotFound .*mailboat-shared-admin/],
    [[...bare.options, "--context", "there"], /Cannot use context there: expected one of here/],
  ];
  for (const [options, said] of cases) {
    const { code, err } = await mailboat("top", ...options);
    assert.equal(code, 1, String(options));
    assert.match(err, said);
    assert.doesNotMatch(err, / at .*\.ts/);
  }
  const sent = await mailboat("send", "--to", "b@b.example", ...several.options);
  assert.equal(sent.code, 1);
  assert.match(sent.err, /expected --pool with one of a\/one, b\/two, got no --pool/);
});
