/** Questions to a Service by the way through the API server. Rejects with KubeError: the API server's refusals, and the Service's own. */
import { objectPath } from "./paths.ts";
import type { ResourceType, Transport } from "./types.ts";

export interface ServiceAddress {
  readonly namespace: string;
  readonly name: string;
  readonly port: number;
}

export interface ServiceRequest {
  readonly method: "GET" | "POST";
  /** Path and query at the Service. */
  readonly path: string;
  /** `Authorization` is the API server's and never arrives. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
}

const services: ResourceType = {
  group: "",
  version: "v1",
  plural: "services",
  kind: "Service",
  namespaced: true,
};

/** One attempt; the parsed JSON of a success. @example /api/v1/namespaces/mail/services/mailboat-shared-admin:8026/proxy/v1/top */
export function askService(
  transport: Transport,
  { namespace, name, port }: ServiceAddress,
  { method, path, headers, body }: ServiceRequest,
): Promise<unknown> {
  const place = objectPath(services, { namespace, name });
  return transport.json({
    method,
    path: `${place}:${port}/proxy${path}`,
    headers,
    ...(body === undefined ? {} : { body }),
  });
}
