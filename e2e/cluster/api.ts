/** The API server asked directly: a thousand questions in the time that kubectl takes for ten. */
import { Agent, request } from "node:https";
import type { Cluster } from "./cluster.ts";

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

export interface Api extends Disposable {
  /** Never throws on a status; @throws Error when there is no answer */
  ask(method: "GET" | "POST" | "PUT" | "DELETE" | "PATCH", path: string, body?: unknown): Promise<Answer>;
}

const mergePatch = "application/merge-patch+json";

/**
 * As the administrator, or as whoever a bearer token says.
 * @example using api = openApi(cluster); await api.ask("GET", "/api/v1/nodes")
 */
export function openApi(
  { server, controlPlane }: Pick<Cluster, "server" | "controlPlane">,
  token?: string,
): Api {
  const { ca } = controlPlane.authority;
  const agent = new Agent({ ca, ...(token === undefined ? controlPlane.admin : {}), keepAlive: true });
  const login = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return {
    ask(method, path, body) {
      const text = body === undefined ? undefined : JSON.stringify(body);
      const type = method === "PATCH" ? mergePatch : "application/json";
      const headers = {
        accept: "application/json",
        ...login,
        ...(text === undefined ? {} : { "content-type": type }),
      };
      return new Promise((resolve, reject) => {
        const asked = request(`${server}${path}`, { method, agent, headers, timeout: 30_000 }, (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("error", reject);
          response.on("end", () => {
            const said = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
            resolve({ status: response.statusCode ?? 0, body: said });
          });
        });
        asked.on("timeout", () => asked.destroy(new Error(`${method} ${path}: no answer in 30 s`)));
        asked.on("error", reject);
        asked.end(text);
      });
    },
    [Symbol.dispose]: () => agent.destroy(),
  };
}
