/** The metrics port: /metrics, /healthz, /readyz, /statusz. Reads only; answers 404 to the rest and 405 to other methods. */
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Registry } from "prom-client";

export interface HealthOptions {
  readonly host: string;
  readonly port: number;
  readonly metrics: { readonly registry: Registry };
  /** Why nothing can be taken now; [] = it can. */
  notReady(): readonly string[];
  /** What /statusz shows: generation, shards owned, queued. */
  status(): object;
}

export interface HealthServer {
  readonly port: number;
  close(): void;
}

/** Rejects when the port is taken. */
export async function startHealth(options: HealthOptions): Promise<HealthServer> {
  const server = createServer((request, response) => {
    if (request.method !== "GET" && request.method !== "HEAD")
      return send(response, 405, "only GET is served here");
    void answer(options, (request.url ?? "").split("?")[0] ?? "", response);
  });
  server.requestTimeout = 10_000;
  server.headersTimeout = 5000;
  server.maxConnections = 100;
  await listening(server, options);
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

function listening(server: Server, { port, host }: HealthOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port, host }, resolve);
  });
}

async function answer(options: HealthOptions, path: string, response: ServerResponse): Promise<void> {
  switch (path) {
    case "/healthz":
      return send(response, 200, "ok");
    case "/readyz": {
      const reasons = options.notReady();
      return send(
        response,
        reasons.length === 0 ? 200 : 503,
        reasons.length === 0 ? "ok" : reasons.join("\n"),
      );
    }
    case "/statusz":
      response.setHeader("content-type", "application/json");
      return send(response, 200, JSON.stringify(options.status()));
    case "/metrics":
      return writeMetrics(options.metrics, response);
    default:
      return send(response, 404, "served here: /metrics /healthz /readyz /statusz");
  }
}

/** One metric at a time with a turn of the event loop between: no scrape holds the mail up (decisions.md 20). */
async function writeMetrics(metrics: HealthOptions["metrics"], response: ServerResponse): Promise<void> {
  response.writeHead(200, { "content-type": metrics.registry.contentType });
  for (const { name } of metrics.registry.getMetricsAsArray().map(named)) {
    if (response.destroyed) return;
    response.write(`${await metrics.registry.getSingleMetricAsString(name)}\n\n`);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  response.end();
}

function named(metric: unknown): { readonly name: string } {
  return metric as { readonly name: string };
}

function send(response: ServerResponse, status: number, body: string): void {
  response.statusCode = status;
  if (!response.hasHeader("content-type")) response.setHeader("content-type", "text/plain; charset=utf-8");
  response.end(`${body}\n`);
}
