/** The operator's ports: /metrics on one, /healthz and /readyz on the other. Reads only: 404 to other paths, 405 to other methods. */
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Registry } from "prom-client";

export interface HealthOptions {
  readonly bind: string;
  /** 0 = any free one. */
  readonly metricsPort: number;
  readonly healthPort: number;
  readonly registry: Registry;
  /** Why the operator is not ready, say which kinds are not synced; [] = it is. Standing by is ready. */
  notReady(): readonly string[];
}

export interface HealthServer {
  readonly metricsPort: number;
  readonly healthPort: number;
  close(): void;
}

type Answer = (path: string, response: ServerResponse) => void | Promise<void>;

/** Rejects when a port is taken; none is left open then. */
export async function startHealth(options: HealthOptions): Promise<HealthServer> {
  const metrics = await serve(options.bind, options.metricsPort, async (path, response) => {
    if (path !== "/metrics") return send(response, 404, "served here: /metrics");
    response.setHeader("content-type", options.registry.contentType);
    return send(response, 200, await options.registry.metrics());
  });
  const health = await serve(options.bind, options.healthPort, (path, response) => {
    if (path === "/healthz") return send(response, 200, "ok");
    if (path !== "/readyz") return send(response, 404, "served here: /healthz /readyz");
    const reasons = options.notReady();
    return reasons.length === 0 ? send(response, 200, "ok") : send(response, 503, reasons.join("\n"));
  }).catch((error: unknown) => {
    close(metrics);
    throw error;
  });
  return {
    metricsPort: portOf(metrics),
    healthPort: portOf(health),
    close: () => {
      close(metrics);
      close(health);
    },
  };
}

async function serve(host: string, port: number, answer: Answer): Promise<Server> {
  const server = createServer((request, response) => {
    response.setHeader("content-type", "text/plain; charset=utf-8");
    if (request.method !== "GET" && request.method !== "HEAD")
      return send(response, 405, "only GET is served here");
    const path = (request.url ?? "").split("?")[0] ?? "";
    // A metric that cannot be read is a bug, and no reason to end the operator.
    return void Promise.resolve(answer(path, response)).catch((error: unknown) =>
      send(response, 500, String(error)),
    );
  });
  server.requestTimeout = 10_000;
  server.headersTimeout = 5000;
  server.maxConnections = 100;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port, host }, resolve);
  });
  return server;
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

function close(server: Server): void {
  server.close();
  server.closeAllConnections();
}

function send(response: ServerResponse, status: number, body: string): void {
  response.statusCode = status;
  response.end(body.endsWith("\n") ? body : `${body}\n`);
}
