/**
 * A server of external.metrics.k8s.io for one metric of mailboat's, run by itself in a pod: each question is answered with what the pool's
 * pods say at that moment on /metrics. Asked by the API server alone, which shows the front proxy's certificate. A pod that does not
 * answer makes the answer 503: half a sum would be taken for the whole.
 */
import { resolve4 } from "node:dns/promises";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";

const group = "external.metrics.k8s.io/v1beta1";
const metric = "mailboat_unserved_backlog";
const [pods = "", folder = ""] = process.argv.slice(2);

/** The sum over all pods that DNS names. */
async function backlog(): Promise<number> {
  const values = await Promise.all(
    (await resolve4(pods)).map(async (address) => {
      const answer = await fetch(`http://${address}:9464/metrics`, { signal: AbortSignal.timeout(2000) });
      const value = new RegExp(`^${metric} (\\S+)$`, "m").exec(await answer.text())?.[1];
      if (value === undefined) throw new Error(`Cannot read ${metric} of ${address}: it has none`);
      return Number(value);
    }),
  );
  return values.reduce((sum, value) => sum + value, 0);
}

async function answer(path: string): Promise<{ status: number; body: object }> {
  if (path === `/apis/${group}`) {
    const resources = [
      { name: metric, singularName: "", namespaced: true, kind: "ExternalMetricValueList", verbs: ["get"] },
    ];
    return {
      status: 200,
      body: { kind: "APIResourceList", apiVersion: "v1", groupVersion: group, resources },
    };
  }
  if (!new RegExp(`^/apis/${group}/namespaces/[^/]+/${metric}$`).test(path))
    return {
      status: 404,
      body: { kind: "Status", apiVersion: "v1", status: "Failure", code: 404, message: path },
    };
  try {
    const value = await backlog();
    console.log(JSON.stringify({ metric, value }));
    const item = {
      metricName: metric,
      metricLabels: {},
      timestamp: new Date().toISOString(),
      value: String(value),
    };
    return {
      status: 200,
      body: { kind: "ExternalMetricValueList", apiVersion: group, metadata: {}, items: [item] },
    };
  } catch (error) {
    console.log(String(error));
    return {
      status: 503,
      body: { kind: "Status", apiVersion: "v1", status: "Failure", code: 503, message: String(error) },
    };
  }
}

const file = (name: string): Buffer => readFileSync(`${folder}/${name}`);
const tls = {
  cert: file("tls.crt"),
  key: file("tls.key"),
  ca: file("ca.crt"),
  requestCert: true,
  rejectUnauthorized: true,
};
createServer(tls, (request, response) => {
  const { pathname } = new URL(request.url ?? "/", "https://adapter");
  void answer(pathname).then(({ status, body }) => {
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  });
}).listen(6443);
