// What `helm test` runs, in the operator's image: is what the release promises there? Exits 1 with the first thing that is not.
import { readFileSync } from "node:fs";
import { connect } from "node:net";

const patience = Number(process.env.PATIENCE_SECONDS) * 1000;
const folder = "/var/run/secrets/kubernetes.io/serviceaccount";

async function kindsAreServed() {
  const token = readFileSync(`${folder}/token`, "utf8");
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env;
  const address = host.includes(":") ? `[${host}]` : host;
  const answer = await fetch(`https://${address}:${port}/apis/mailboat.dev/v1alpha1`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const { resources = [] } = await answer.json();
  const kinds = resources.map(({ kind }) => kind);
  for (const kind of ["Tenant", "SendingPool", "TrafficShape"])
    if (!kinds.includes(kind)) throw new Error(`the API server serves no ${kind}: is crds.install on?`);
}

async function operatorIsReady() {
  const ready = await fetch(`http://${process.env.OPERATOR}:8081/readyz`);
  if (!ready.ok) throw new Error(`the operator is not ready: ${await ready.text()}`);
  const metrics = await fetch(`http://${process.env.OPERATOR}:8080/metrics`);
  if (!metrics.ok) throw new Error(`the operator's metrics: expected 200, got ${metrics.status}`);
}

// What a server says that speaks first.
function greetingOf(host, port) {
  return new Promise((resolve, reject) => {
    const socket = connect(port, host);
    socket.setTimeout(5000, () => socket.destroy(new Error(`${host}:${port} said nothing for 5 s`)));
    socket.once("error", reject);
    socket.once("data", (bytes) => {
      socket.destroy();
      resolve(bytes.toString("utf8"));
    });
  });
}

// Pools are known from the operator's figures: this pod may read nothing at the API server.
async function poolsTakeMail() {
  const text = await (await fetch(`http://${process.env.OPERATOR}:8080/metrics`)).text();
  const wanted = text.matchAll(
    /^mailboat_pool_replicas\{namespace="(.*)",pool="(.*)",state="desired"\} [1-9]/gm,
  );
  for (const [, namespace, pool] of wanted) {
    const said = await greetingOf(`mailboat-${pool}.${namespace}`, 25).catch((cause) => {
      throw new Error(
        `the pool ${namespace}/${pool} takes no mail: kubectl describe -n ${namespace} mpool/${pool}`,
        { cause },
      );
    });
    if (!said.startsWith("220 "))
      throw new Error(`the pool ${namespace}/${pool}: expected 220, got ${said.trim()}`);
  }
}

// INFO {...}
async function natsHasJetStream() {
  const line = await greetingOf(process.env.NATS, 4222);
  const info = JSON.parse(line.slice(5, line.indexOf("\r\n")));
  if (info.jetstream !== true) throw new Error(`NATS ${info.version} has no JetStream`);
}

const checks = [["kinds are served", kindsAreServed]];
if (process.env.OPERATOR) checks.push(["the operator is ready", operatorIsReady]);
if (process.env.NATS) checks.push(["NATS has JetStream", natsHasJetStream]);
if (process.env.OPERATOR) checks.push(["pools take mail", poolsTakeMail]);

for (const [name, check] of checks) {
  const until = Date.now() + patience;
  for (;;) {
    try {
      await check();
      console.log(`ok: ${name}`);
      break;
    } catch (error) {
      if (Date.now() > until) {
        console.error(`failed: ${name}: ${error.message}${error.cause ? ` (${error.cause.message})` : ""}`);
        process.exit(1);
      }
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}
