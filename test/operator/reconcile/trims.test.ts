/** What is kept of thousands of objects. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeObject } from "#operator/kube/types.ts";
import { trimmedSecret, trimmedTenant } from "#operator/reconcile/trims.ts";
import { tenant } from "./world.ts";

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration";

function stored(name: string): KubeObject {
  const conditions = [{ type: "Ready", status: "True", reason: "Ready", message: "" }];
  const annotations = { [lastApplied]: "{}", "example.com/team": "a", "mailboat.dev/skip-drain": "true" };
  const made = tenant(name, {}, { annotations, labels: { a: "b" }, finalizers: ["mailboat.dev/drain"] });
  return { ...made, status: { programmed: "2/2", conditions } };
}

test("of a tenant is kept what is read, and what thousands have in common once", () => {
  const spec = { weight: 1 };
  const [a, b] = ["a", "b"].map((name) => trimmedTenant(stored(name), () => spec));
  assert.deepEqual(JSON.parse(JSON.stringify(a)), {
    apiVersion: "mailboat.dev/v1alpha1",
    kind: "Tenant",
    metadata: {
      name: "a",
      namespace: "mail",
      finalizers: ["mailboat.dev/drain"],
      annotations: { "mailboat.dev/skip-drain": "true" },
    },
    spec,
    status: stored("a")["status"],
  });
  assert.equal(a?.["spec"], spec);
  const conditionsOf = (object: KubeObject | undefined): unknown =>
    Reflect.get(object?.["status"] as object, "conditions");
  assert.equal(conditionsOf(a), conditionsOf(b));
  assert.equal(a?.metadata.finalizers, b?.metadata.finalizers);
});

test("a tenant whose spec nobody can read keeps it; of somebody else's Secret only the version is kept", () => {
  const object = stored("a");
  assert.equal(trimmedTenant(object, () => undefined)["spec"], object["spec"]);
  const metadata = { name: "s", namespace: "mail", uid: "u", resourceVersion: "7", labels: { a: "b" } };
  assert.deepEqual(trimmedSecret({ apiVersion: "v1", kind: "Secret", metadata }).metadata, {
    name: "s",
    namespace: "mail",
    uid: "u",
    resourceVersion: "7",
  });
});
