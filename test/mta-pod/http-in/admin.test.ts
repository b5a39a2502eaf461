import assert from "node:assert/strict";
import { test } from "node:test";
import { startAdmin } from "#mta-pod/http-in/admin.ts";

interface Running extends AsyncDisposable {
  readonly calls: unknown[];
  url(path: string): string;
  ask(path: string, init?: { method?: string; body?: unknown; token?: string | null }): Promise<Response>;
}

async function start(tokenOf = () => "t0ken"): Promise<Running> {
  const calls: unknown[] = [];
  const note =
    (name: string) =>
    async (...given: unknown[]): Promise<unknown> => {
      calls.push([name, ...given]);
      return { name };
    };
  const server = await startAdmin({
    host: "127.0.0.1",
    port: 0,
    reusePort: false,
    token: tokenOf,
    hooks: {
      queue: note("queue"),
      message: async (id) => (id === "M1" ? { id } : null),
      top: note("top"),
      tenants: note("tenants"),
      act: note("act"),
      progress: async (job) => (job === "J1" ? { job } : null),
      suspend: note("suspend"),
      resume: note("resume"),
      sunk: async (limit) => [{ limit }],
      sunkMessage: async (id) => (id === "M1" ? { id } : null),
      witness: async (pod, incarnation) => void calls.push(["witness", pod, incarnation]),
    },
  });
  const url = (path: string): string => `http://127.0.0.1:${server.port}${path}`;
  return {
    calls,
    url,
    ask: (path, { method = "GET", body, token = "t0ken" } = {}) =>
      fetch(url(path), {
        method,
        headers: {
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
    [Symbol.asyncDispose]: () => server.close(5000),
  };
}

test("the admin port wants its token, whatever is asked", async () => {
  await using server = await start();
  for (const token of [null, "", "t0ke", "t0ken0", "user:secret"])
    for (const path of ["/v1/queue", "/v1/top", "/v1/messages/M1", "/nothing"]) {
      const answer = await server.ask(path, { token });
      assert.equal(answer.status, 401, `${token} ${path}`);
      assert.equal(((await answer.json()) as { error: { code: string } }).error.code, "unauthorized");
    }
  assert.deepEqual(server.calls, []);
});

test("the API server's proxy keeps Authorization to itself, so the token may come in a header of our own", async () => {
  await using server = await start();
  const headers = { "x-mailboat-authorization": "Bearer t0ken" };
  assert.equal((await fetch(server.url("/v1/top"), { headers })).status, 200);
  const wrong = { "x-mailboat-authorization": "Bearer other", authorization: "Bearer t0ken" };
  assert.equal((await fetch(server.url("/v1/top"), { headers: wrong })).status, 401);
});

test("the queue is listed by selector", async () => {
  await using server = await start();
  const answer = await server.ask("/v1/queue?tenant=acme&domain=b.example&limit=5");
  assert.deepEqual(await answer.json(), { name: "queue" });
  assert.deepEqual(server.calls, [["queue", { tenant: "acme", domain: "b.example", limit: 5 }]]);
  for (const query of ["limit=0", "limit=x", "tenants=acme", "tenant="])
    assert.equal((await server.ask(`/v1/queue?${query}`)).status, 400, query);
});

test("a domain is compared as an A-label in lower case, however it is written", async () => {
  await using server = await start();
  for (const [given, domain] of [
    ["Bücher.example", "xn--bcher-kva.example"],
    ["X.Example.", "x.example"],
    ["[192.0.2.1]", "[192.0.2.1]"],
  ] as const) {
    await server.ask(`/v1/queue?domain=${encodeURIComponent(given)}`);
    for (const action of ["retry", "suspend", "resume"])
      await server.ask(`/v1/queue/${action}`, { method: "POST", body: { domain: given } });
    const asked = server.calls
      .splice(0)
      .map((call) => (call as unknown[]).find((one) => typeof one === "object"));
    assert.deepEqual(
      asked.map((query) => (query as { domain?: string }).domain),
      [domain, domain, domain, domain],
    );
  }
});

test("tenants are asked for by name", async () => {
  await using server = await start();
  assert.equal((await server.ask("/v1/tenants?name=mail%2Facme")).status, 200);
  assert.deepEqual(server.calls, [["tenants", "mail/acme"]]);
  for (const query of ["", "?name=", "?tenant=acme"])
    assert.equal((await server.ask(`/v1/tenants${query}`)).status, 400, query);
});

test("acts want a selection or all, never neither", async () => {
  await using server = await start();
  const act = async (body: unknown): Promise<number> =>
    (await server.ask("/v1/queue/retry", { method: "POST", body })).status;
  assert.equal(await act({ id: "M1" }), 200);
  assert.equal(await act({ all: true }), 200);
  assert.equal(await act({}), 400);
  assert.equal(await act({ all: true, id: "M1" }), 400);
  assert.equal(await act({ all: false }), 400);
  assert.equal((await server.ask("/v1/queue/retry", { method: "POST" })).status, 400);
  assert.equal((await server.ask("/v1/queue/erase", { method: "POST", body: { all: true } })).status, 404);
  const none = { tenant: undefined, site: undefined, domain: undefined, id: undefined };
  assert.deepEqual(server.calls, [
    ["act", "retry", { ...none, id: "M1" }],
    ["act", "retry", none],
  ]);
});

test("suspend and resume take the selectors of the other acts", async () => {
  await using server = await start();
  const ask = async (action: string, body: unknown): Promise<number> =>
    (await server.ask(`/v1/queue/${action}`, { method: "POST", body })).status;
  assert.equal(await ask("suspend", { tenant: "acme", forSeconds: 60 }), 200);
  assert.equal(await ask("suspend", { all: true }), 200);
  assert.equal(await ask("resume", { site: "s1" }), 200);
  assert.equal(await ask("suspend", { domain: "a.example", id: "M1" }), 200);
  for (const body of [{}, { lane: "x" }, { all: true, site: "s1" }, { tenant: "" }])
    for (const action of ["suspend", "resume"])
      assert.equal(await ask(action, body), 400, JSON.stringify(body));
  assert.equal(await ask("suspend", { tenant: "acme", forSeconds: 0 }), 400);
  assert.equal(await ask("resume", { tenant: "acme", forSeconds: 1 }), 400);
  const none = { tenant: undefined, site: undefined, domain: undefined, id: undefined };
  assert.deepEqual(server.calls, [
    ["suspend", { ...none, tenant: "acme" }, 60],
    ["suspend", none, undefined],
    ["resume", { ...none, site: "s1" }],
    ["suspend", { ...none, domain: "a.example", id: "M1" }, undefined],
  ]);
});

test("how far an act is can be asked", async () => {
  await using server = await start();
  assert.deepEqual(await (await server.ask("/v1/acts/J1")).json(), { job: "J1" });
  assert.equal((await server.ask("/v1/acts/J2")).status, 404);
});

test("messages, the busiest and deaths of pods", async () => {
  await using server = await start();
  assert.deepEqual(await (await server.ask("/v1/messages/M1")).json(), { id: "M1" });
  assert.equal((await server.ask("/v1/messages/M2")).status, 404);
  assert.equal((await server.ask("/v1/top")).status, 200);
  const body = { pod: "mta-0", incarnation: "i1" };
  assert.equal((await server.ask("/v1/witness", { method: "POST", body })).status, 200);
  assert.equal((await server.ask("/v1/witness", { method: "POST", body: { pod: "mta-0" } })).status, 400);
  assert.deepEqual(server.calls, [["top"], ["witness", "mta-0", "i1"]]);
});

test("a token that is made again lets in who has the new one, and an empty one nobody", async () => {
  let token = "t0ken";
  await using server = await start(() => token);
  assert.equal((await server.ask("/v1/top")).status, 200);
  token = "another";
  assert.equal((await server.ask("/v1/top")).status, 401);
  assert.equal((await server.ask("/v1/top", { token: "another" })).status, 200);
  token = "";
  for (const given of ["", "t0ken", "another", null])
    assert.equal((await server.ask("/v1/top", { token: given })).status, 401, String(given));
});

test("what a sink took is listed and shown", async () => {
  await using server = await start();
  const body = async (path: string): Promise<unknown> => (await server.ask(path)).json();
  assert.deepEqual(await body("/v1/sink"), { messages: [{ limit: 20 }] });
  assert.deepEqual(await body("/v1/sink?limit=1000"), { messages: [{ limit: 1000 }] });
  assert.equal((await server.ask("/v1/sink?limit=1001")).status, 400);
  assert.deepEqual(await body("/v1/sink/M1"), { id: "M1" });
  assert.equal((await server.ask("/v1/sink/M2")).status, 404);
});
