import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { RE2JS } from "re2js";
import { readPodOptions } from "#mta-pod/options.ts";
import { adminTokenOf } from "#operator/resources/admin-token.ts";
import { childTypeOf, podMonitorType, staleChildren } from "#operator/resources/children.ts";
import { configObjects } from "#operator/resources/config-objects.ts";
import { childNames, selectorText } from "#operator/resources/object.ts";
import type { KubeObject } from "#operator/resources/object.ts";
import { at, objectOf, poolObjects } from "./pool-case.ts";

const golden = (name: string): string =>
  readFileSync(join(import.meta.dirname, "../../golden/resources", name, "in.yaml"), "utf8");

const smallest = golden("smallest");
const tenant = (name: string, rest = ""): string => `---
apiVersion: mailboat.dev/v1alpha1
kind: Tenant
metadata: {name: ${name}, namespace: mail}
spec: {poolRef: {name: shared}, domains: [{name: ${name}.example}], ${rest}}
`;
const many = smallest + Array.from({ length: 200 }, (_, index) => tenant(`t${index}`)).join("");

const keyOf = ({ kind, metadata }: KubeObject): string => `${kind}/${metadata.name}`;

function changed(before: readonly KubeObject[], after: readonly KubeObject[]): string[] {
  const texts = new Map(before.map((object) => [keyOf(object), JSON.stringify(object)]));
  return after.filter((object) => texts.get(keyOf(object)) !== JSON.stringify(object)).map(keyOf);
}

test("buildPool() of the same input gives the same bytes", () => {
  assert.equal(JSON.stringify(poolObjects(many)), JSON.stringify(poolObjects(many)));
});

test("an edit of one tenant of 200 changes its slot and the manifest, nothing else", () => {
  const edited = many.replace(tenant("t7"), tenant("t7", "weight: 9"));
  assert.notEqual(edited, many);
  const names = changed(poolObjects(many), poolObjects(edited, { generation: 8 }));
  assert.equal(names.length, 2, names.join(" "));
  assert.match(names[0] ?? "", /^ConfigMap\/mailboat-shared-config-[0-9]+$/);
  assert.equal(names[1], "ConfigMap/mailboat-shared-config");
});

test("the objects of files that are the very same bytes are the very same, unless the pool is another", () => {
  const slot = Buffer.from("packed");
  const files = new Map([
    ["07.json.gz", slot],
    ["pool.json", Buffer.from("{}")],
  ]);
  const identity = { namespace: "mail", name: "shared", uid: "1" };
  const [first] = configObjects(identity, files);
  assert.equal(configObjects(identity, files)[0], first);
  const [again] = configObjects({ ...identity, uid: "2" }, files);
  assert.equal(again?.metadata.ownerReferences?.[0]?.uid, "2");
});

test("a rotated password changes one Secret and nothing else", () => {
  const rotated = smallest.replace("password: secret", "password: other");
  assert.deepEqual(changed(poolObjects(smallest), poolObjects(rotated)), ["Secret/mailboat-shared-keys-200"]);
});

const template = (yaml: string, settings?: Parameters<typeof poolObjects>[1]): string =>
  JSON.stringify(at(objectOf(poolObjects(yaml, settings), "Deployment", "mailboat-shared"), "spec.template"));
const withField = (field: string): string => smallest.replace("  hostname:", `  ${field}\n  hostname:`);

test("the template stays as it is for whatever running pods take over, and for the operator's own matters", () => {
  const before = template(smallest);
  for (const yaml of [
    many,
    withField("replicas: 7"),
    withField("egress: {allowDestinations: [10.0.0.0/8], sources: [{name: a, ehlo: a.example}]}"),
    withField("disruptionBudget: {maxUnavailable: 1}"),
    withField("networkPolicy: {enabled: true}"),
    withField("service: {type: LoadBalancer}"),
  ])
    assert.equal(template(yaml), before, yaml.slice(0, 400));
  for (const settings of [
    { generation: 99 },
    { replicas: 9 },
    { adminToken: "x".repeat(32) },
    { hasPodMonitors: false },
  ])
    assert.equal(template(smallest, settings), before, JSON.stringify(settings));
});

test("the template changes for what pods read once", () => {
  const before = template(smallest);
  for (const yaml of [
    smallest.replace("out.example.net", "other.example.net"),
    smallest.replace("nats://nats:4222", "nats://elsewhere:4222"),
    smallest.replace('4222"]', '4222"], maxBytesPerShard: 33554432'),
    withField("drain: {timeoutSeconds: 30}"),
    withField("tls: {secretRef: {name: t}}"),
    withField("image: other"),
  ])
    assert.notEqual(template(yaml), before, yaml.slice(0, 400));
  assert.notEqual(template(smallest, { image: "mailboat-pod:2" }), before);
});

test("the order of servers and a default that is written out roll nothing", () => {
  const servers = (list: string): string => smallest.replace('["nats://nats:4222"]', list);
  const before = template(servers('["nats://a:1", "nats://b:1"]'));
  assert.equal(template(servers('["nats://b:1", "nats://a:1"]')), before);
  assert.equal(
    template(servers('["nats://a:1", "nats://b:1"], maxBytesPerShard: 2147483648, replicas: 3')),
    before,
  );
});

test("keys come before slots, slots before the manifest, the Deployment after what its pods mount", () => {
  const order = poolObjects(many).map(keyOf);
  const last = (pattern: RegExp): number => order.findLastIndex((key) => pattern.test(key));
  const first = (pattern: RegExp): number => order.findIndex((key) => pattern.test(key));
  assert.ok(last(/^Secret/) < first(/^ConfigMap.*-config-/));
  assert.ok(last(/^ConfigMap.*-config-/) < first(/^ConfigMap.*-config$/));
  assert.ok(last(/^ConfigMap/) < first(/^Deployment/));
  assert.ok(first(/^ServiceAccount/) < first(/^Deployment/));
});

test("nothing is null or undefined, every child has the pool as its controller and a name that fits", () => {
  for (const name of ["smallest", "everything", "uncompiled"])
    for (const object of poolObjects(golden(name))) {
      const walk = (value: unknown, path: string): void => {
        assert.ok(value !== null && value !== undefined, path);
        if (typeof value === "object")
          for (const [key, one] of Object.entries(value)) walk(one, `${path}.${key}`);
      };
      walk(object, keyOf(object));
      assert.equal(object.metadata.ownerReferences?.[0]?.controller, true);
      assert.equal(childTypeOf(object).kind, object.kind);
    }
  const longest = "p".repeat(36);
  for (const service of [childNames.main(longest), childNames.admin(longest)])
    assert.ok(RE2JS.compile("[a-z]([-a-z0-9]{0,61}[a-z0-9])?").matches(service), service);
});

test("pods mount all 64 and 256 slots by name, none of which has to exist", () => {
  const spec = at(objectOf(poolObjects(smallest), "Deployment", "mailboat-shared"), "spec.template.spec");
  const config = at(spec, "volumes.0.projected.sources") as object[];
  const keys = at(spec, "volumes.1.projected.sources") as object[];
  assert.equal(new Set(config.map((source) => at(source, "configMap.name"))).size, 65);
  assert.equal(new Set(keys.map((source) => at(source, "secret.name"))).size, 256);
  assert.ok([...config, ...keys].every((source) => JSON.stringify(source).includes('"optional":true')));
});

test("what objects are named in slots is what pods mount", () => {
  const objects = poolObjects(many);
  const text = JSON.stringify(objectOf(objects, "Deployment", "mailboat-shared"));
  const parts = objects.filter(({ metadata }) => metadata.labels?.["mailboat.dev/part"] !== undefined);
  assert.ok(parts.length > 40);
  for (const { metadata } of parts) assert.ok(text.includes(`"name":"${metadata.name}"`), metadata.name);
});

test("pods understand the options that they are started with", () => {
  const deployment = objectOf(poolObjects(golden("everything")), "Deployment", "mailboat-bulk");
  const args = at(deployment, "spec.template.spec.containers.0.args") as string[];
  const options = readPodOptions(args, "name");
  assert.equal(options.configDir, "/etc/mailboat/config");
  assert.equal(options.adminTokenFile, "/etc/mailboat/admin/token");
  const ports = at(deployment, "spec.template.spec.containers.0.ports") as {
    name: string;
    containerPort: number;
  }[];
  assert.deepEqual(Object.fromEntries(ports.map(({ name, containerPort }) => [name, containerPort])), {
    ...options.ports,
  });
});

test("a pool without a uid is refused: its children would stay for ever", () => {
  assert.throws(
    () => poolObjects(smallest.replace(", uid: 7a0c-1", "")),
    /expected metadata.uid, got nothing/,
  );
});

test("requests that are ours never exceed a limit of the user's", () => {
  const yaml = withField("pod: {resources: {limits: {cpu: 100m, memory: 64Mi}}}");
  const deployment = objectOf(poolObjects(yaml), "Deployment", "mailboat-shared");
  assert.deepEqual(at(deployment, "spec.template.spec.containers.0.resources"), {
    limits: { cpu: "100m", memory: "64Mi" },
  });
});

test("adminTokenOf() keeps the token that there is, and makes one when there is none that can be used", () => {
  const secret = objectOf(poolObjects(smallest), "Secret", "mailboat-shared-admin");
  const create = (): string => "made";
  assert.equal(adminTokenOf(secret, create), "0123456789abcdef0123456789abcdef");
  assert.equal(adminTokenOf(undefined, create), "made");
  assert.equal(adminTokenOf({ ...secret, data: {} }, create), "made");
  assert.equal(adminTokenOf({ ...secret, data: { token: 5 } }, create), "made");
  assert.equal(adminTokenOf({ ...secret, data: { token: "YQ==" } }, create), "made");
});

test("staleChildren() names the pool's own that are not wanted, and keeps what is not known", () => {
  const before = poolObjects(many);
  const objects = poolObjects(smallest, { hasPodMonitors: false });
  const stranger = { kind: "ConfigMap", metadata: { name: "mailboat-shared-config-1", labels: {} } };
  const stale = staleChildren([...before, stranger], { uid: "7a0c-1", objects, isCompiled: true });
  const names = stale.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
  assert.ok(names.includes("PodMonitor/mailboat-shared"));
  assert.equal(
    names.filter((name) => name.startsWith("ConfigMap/mailboat-shared-config-")).length,
    names.length - 1,
  );
  assert.ok(names.length > 40);
  const without = objects.filter(({ kind }) => kind !== "ConfigMap" && kind !== "Secret");
  const kept = staleChildren(before, { uid: "7a0c-1", objects: without, isCompiled: false });
  assert.deepEqual(
    kept.map(({ kind, metadata }) => `${kind}/${metadata.name}`),
    ["Secret/mailboat-shared-admin", "PodMonitor/mailboat-shared"],
  );
  assert.deepEqual(staleChildren(before, { uid: "another", objects: [], isCompiled: true }), []);
});

test("a PodMonitor has the labels that a Prometheus selects by, and ours whatever they say", () => {
  const podMonitorLabels = { release: "prometheus", "mailboat.dev/pool": "other" };
  const monitor = objectOf(poolObjects(smallest, { podMonitorLabels }), "PodMonitor", "mailboat-shared");
  const { labels = {} } = monitor.metadata;
  assert.equal(labels["release"], "prometheus");
  assert.equal(labels["mailboat.dev/pool"], "shared");
  assert.equal(at(monitor, "spec.selector.matchLabels.release"), undefined);
});

test("selectorText() selects what the Deployment selects", () => {
  assert.equal(
    selectorText("shared", "pod"),
    "app.kubernetes.io/component=pod,app.kubernetes.io/name=mailboat,mailboat.dev/pool=shared",
  );
  assert.equal(podMonitorType.group, "monitoring.coreos.com");
  assert.throws(() => childTypeOf({ kind: "Node" }), TypeError);
});
