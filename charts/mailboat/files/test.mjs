// What `helm test` runs, in the operator's image: is what the release promises there? Exits 1 with the first thing that is not.
import { readFileSync } from "node:fs";
import { connect } from "node:net";

const patience = 60_000;
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

// The server speaks first: INFO {...}
async function natsHasJetStream() {
  const line = await new Promise((resolve, reject) => {
    const socket = connect(4222, process.env.NATS);
    socket.setTimeout(5000, () => socket.destroy(new Error("NATS said nothing for 5 s")));
    socket.once("error", reject);
    socket.once("data", (bytes) => {
      socket.destroy();
      resolve(bytes.toString("utf8"));
    });
  });
  const info = JSON.parse(line.slice(5, line.indexOf("\r\n")));
  if (info.jetstream !== true) throw new Error(`NATS ${info.version} has no JetStream`);
}

const checks = [["kinds are served", kindsAreServed]];
if (process.env.OPERATOR) checks.push(["the operator is ready", operatorIsReady]);
if (process.env.NATS) checks.push(["NATS has JetStream", natsHasJetStream]);

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
