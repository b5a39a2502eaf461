/** `mailboat operator --release`: whoever leads ends, finalizers go and stay away, and only then is it done. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createClient } from "#operator/kube/client.ts";
import { createElection } from "#operator/kube/election.ts";
import type { Clock, KubeClient } from "#operator/kube/types.ts";
import { kinds, leaseName, marks } from "#operator/reconcile/kinds.ts";
import { type ReleaseOptions, releaseTenants } from "#operator/reconcile/release.ts";
import { mailboat } from "#test/kit/command-line.ts";
import { type FakeApiServer, startFakeApiServer } from "#test/kit/fake-api-server.ts";
import { until } from "#test/kit/until.ts";
import { fastClock, leases } from "../kube/kit.ts";
import { tenant } from "./world.ts";

interface Scene extends AsyncDisposable {
  readonly api: FakeApiServer;
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly lines: string[];
  release(options?: Partial<ReleaseOptions>): Promise<number>;
  /** `name: its finalizers`, of all tenants. */
  held(): string[];
}

const types = [kinds.tenants, leases];

async function scene(served = types): Promise<Scene> {
  const api = await startFakeApiServer({ types: served });
  const clock = fastClock(20);
  const client = createClient({ kubeconfig: api.kubeconfig, clock });
  const lines: string[] = [];
  const say = (verb: string, fields?: object): void => void lines.push(`${verb} ${JSON.stringify(fields)}`);
  const log = { debug: say, info: say, warn: say, error: say };
  return {
    api,
    client,
    clock,
    lines,
    release: (options = {}) =>
      releaseTenants(
        { namespaces: undefined, namespace: "system", identity: "job", ...options },
        { client, clock, log, signal: new AbortController().signal },
      ),
    held: () =>
      [...api.state.list(kinds.tenants)]
        .filter(([, { metadata }]) => metadata.finalizers !== undefined)
        .map(([, { metadata }]) => `${metadata.name}: ${metadata.finalizers?.join()}`),
    async [Symbol.asyncDispose]() {
      client.close();
      await api[Symbol.asyncDispose]();
    },
  };
}

function drained(name: string, namespace = "mail", others: readonly string[] = []) {
  return tenant(name, {}, { namespace, finalizers: [...others, marks.finalizer] });
}

/** Leads, and as long as it does it sets every finalizer that is missing, as an operator does. */
async function startLeader({ api, client, clock }: Scene, identity: string) {
  const lost: string[] = [];
  const election = createElection({
    client,
    clock,
    namespace: "system",
    name: leaseName,
    identity,
    onLost: (reason) => {
      lost.push(reason);
      clearInterval(timer);
    },
  });
  const timer = setInterval(() => {
    if (!election.isLeader()) return;
    for (const [, { metadata }] of api.state.list(kinds.tenants))
      if (metadata.deletionTimestamp === undefined && metadata.finalizers === undefined)
        api.state.patch(
          kinds.tenants,
          { namespace: metadata.namespace, name: metadata.name },
          { metadata: { finalizers: [marks.finalizer] } },
        );
  }, 5);
  return {
    lost,
    election,
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await election.release();
    },
  };
}

test("a leader that would set them again ends first; then all are free, but for marks of others", async () => {
  await using it = await scene();
  for (let index = 0; index < 40; index++) it.api.state.create(kinds.tenants, drained(`t${index}`));
  it.api.state.create(kinds.tenants, drained("shared", "team", ["example.net/backup"]));
  it.api.state.create(kinds.tenants, drained("leaving"));
  it.api.state.remove(kinds.tenants, "mail", "leaving");
  await using leader = await startLeader(it, "operator-0");
  await leader.election.acquired;
  assert.equal(await it.release(), 0);
  // It sees whose the Lease is, or on a busy machine, while this clock runs on, only that it cannot renew it.
  assert.match(leader.lost.join(), /^(the lease is held by job|no renewal for)/);
  assert.deepEqual(it.held(), ["shared: example.net/backup"]);
  assert.equal(it.api.state.get(kinds.tenants, "mail", "leaving"), undefined, "it waited for nothing else");
  it.api.state.remove(kinds.tenants, "mail", "t1");
  assert.equal(it.api.state.get(kinds.tenants, "mail", "t1"), undefined, "deleted with no operator there");
});

test("the next operator leads when the job's minute is over, not before, and sets them again", async () => {
  await using it = await scene();
  it.api.state.create(kinds.tenants, drained("acme"));
  const startedAt = it.clock.monotonic();
  assert.equal(await it.release(), 0);
  assert.ok(it.clock.monotonic() - startedAt < 12_000, "nobody led, so nobody is waited for");
  await using next = await startLeader(it, "operator-1");
  await next.election.acquired;
  assert.ok(it.clock.monotonic() - startedAt >= 60_000);
  await until("its finalizer", () => it.held().join() === `acme: ${marks.finalizer}`);
});

test("a tenant that cannot be freed is named, and it is no success; the others are free", async () => {
  await using it = await scene();
  for (const name of ["acme", "other"]) it.api.state.create(kinds.tenants, drained(name));
  it.api.faults = ({ method, name }) =>
    method === "PATCH" && name === "acme" ? { kind: "status", code: 403 } : undefined;
  assert.equal(await it.release(), 1);
  assert.deepEqual(it.held(), [`acme: ${marks.finalizer}`]);
  assert.match(it.lines.at(-1) ?? "", /tenants not released.*mail\/acme/);
});

test("of namespaces: those alone, and one that is gone is passed over; without rights to any it fails", async () => {
  await using it = await scene();
  for (const namespace of ["one", "two", "theirs"])
    it.api.state.create(kinds.tenants, drained(namespace, namespace));
  it.api.faults = ({ method, type, namespace }) =>
    method === "GET" && type === kinds.tenants && (namespace === undefined || namespace === "gone")
      ? { kind: "status", code: 403 }
      : undefined;
  assert.equal(await it.release({ namespaces: ["gone", "one", "two"] }), 0);
  assert.deepEqual(it.held(), [`theirs: ${marks.finalizer}`]);
  await assert.rejects(it.release(), { name: "KubeError", status: 403 });
});

test("a kind that is gone has nothing to free", async () => {
  await using it = await scene([leases]);
  assert.equal(await it.release(), 0);
});

test("mailboat operator --release: the command, which wants to know where the Lease is", async () => {
  await using it = await scene();
  it.api.state.create(kinds.tenants, drained("acme"));
  const run = (...more: string[]) =>
    mailboat("operator", "--release", "--kubeconfig", it.api.kubeconfig, "--log-level", "error", ...more);
  const lost = await run();
  assert.deepEqual([lost.code, lost.err.includes("--namespace NS")], [2, true]);
  const { code } = await run("--namespace", "system", "--watch-namespace", "mail");
  assert.deepEqual([code, it.held()], [0, []]);
});
