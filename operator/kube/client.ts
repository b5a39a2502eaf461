/** Calls to the API server (types.ts says what each gives): paths, content types, what may be repeated. Rejects with KubeError. */
import { type AccessOptions, createAccess } from "./access.ts";
import { KubeError } from "./errors.ts";
import { collectionPath, groupPath, objectPath, trimmed, withQuery } from "./paths.ts";
import { pagesOf } from "./pages.ts";
import { type RetryOptions, retrying } from "./retry.ts";
import { createTransport } from "./transport.ts";
import type {
  ApplyOptions,
  KubeClient,
  KubeMetrics,
  KubeObject,
  ListOptions,
  Random,
  ResourceType,
  TransportRequest,
} from "./types.ts";

const fieldManager = "mailboat";
/** Of what was written only the metadata is sent back. */
const metadataAnswer = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

export interface ClientOptions extends AccessOptions {
  readonly random?: Random;
  readonly metrics?: KubeMetrics;
  /** Of one attempt; default 30 s. */
  readonly timeoutMs?: number;
  /** Of one answer; default 64 MiB. */
  readonly maxBytes?: number;
}

/**
 * Throws when no cluster is to be found. Nothing is asked of it yet.
 * @example const client = createClient({ clock: systemClock, metrics });
 */
export function createClient(options: ClientOptions): KubeClient {
  const access = createAccess(options);
  const { clock, random = Math.random, metrics, timeoutMs, maxBytes } = options;
  const transport = createTransport({ access, clock, metrics, timeoutMs, maxBytes });
  return { ...callsOf({ transport, clock, random }), transport, close: () => access.close() };
}

function callsOf(retry: RetryOptions): Omit<KubeClient, "transport" | "close"> {
  const call = retrying(retry);
  const repeatable = (request: TransportRequest) => call(request, { isIdempotent: true });
  return {
    async get(type, ref, { resourceVersion } = {}) {
      const path = withQuery(objectPath(type, ref), { resourceVersion });
      const answer = await orGone(repeatable({ method: "GET", path }));
      return answer === undefined ? undefined : objectOf(type, answer);
    },
    list: (type, options = {}) => listAll(retry, type, options),
    async create(type, object) {
      const path = withQuery(collectionPath(type, placeOf(type, object)), { fieldManager });
      const request: TransportRequest = { method: "POST", path, body: JSON.stringify(object) };
      return objectOf(type, await call(request, { isIdempotent: false }));
    },
    async apply(type, object, options = {}) {
      return objectOf(type, await repeatable(applyRequest(type, object, options)));
    },
    async patch(type, ref, mergePatch, { subresource } = {}) {
      const path = `${objectPath(type, ref)}${subresource === undefined ? "" : `/${subresource}`}`;
      const answer = await orGone(
        repeatable({
          method: "PATCH",
          path: withQuery(path, { fieldManager }),
          accept: metadataAnswer,
          contentType: "application/merge-patch+json",
          body: JSON.stringify(mergePatch),
        }),
      );
      return answer === undefined ? undefined : objectOf(type, answer);
    },
    async delete(type, ref, { uid, resourceVersion, propagation = "Background" } = {}) {
      const body = JSON.stringify({
        kind: "DeleteOptions",
        apiVersion: "v1",
        propagationPolicy: propagation,
        preconditions: { uid, resourceVersion },
      });
      return (
        (await orGone(repeatable({ method: "DELETE", path: objectPath(type, ref), body }))) !== undefined
      );
    },
    async hasType(type) {
      const answer = await orGone(repeatable({ method: "GET", path: groupPath(type) }));
      const { resources } = (answer ?? {}) as { resources?: { name?: unknown; kind?: unknown }[] };
      return (resources ?? []).some(({ name, kind }) => name === type.plural && kind === type.kind);
    },
  };
}

async function listAll(retry: RetryOptions, type: ResourceType, selection: ListOptions) {
  let items: KubeObject[] = [];
  let resourceVersion = "";
  for await (const page of pagesOf({ ...retry, type, selection })) {
    if (page.isFirst) items = [];
    for (const item of page.items) items.push(item);
    ({ resourceVersion } = page);
  }
  return { items, resourceVersion };
}

function applyRequest(
  type: ResourceType,
  object: KubeObject,
  { force = true, subresource }: ApplyOptions,
): TransportRequest {
  const { managedFields: _, ...metadata } = object.metadata;
  const { name } = metadata;
  const path = objectPath(type, { name, namespace: placeOf(type, object) });
  return {
    method: "PATCH",
    path: withQuery(`${path}${subresource === undefined ? "" : `/${subresource}`}`, { fieldManager, force }),
    accept: metadataAnswer,
    // The API server takes JSON under this name: JSON is YAML.
    contentType: "application/apply-patch+yaml",
    body: JSON.stringify({ ...object, metadata }),
  };
}

function placeOf(type: ResourceType, { metadata: { namespace, name } }: KubeObject): string | undefined {
  if (type.namespaced && (namespace === undefined || namespace === ""))
    throw new TypeError(`Cannot write ${type.kind} ${name}: expected metadata.namespace, got none`);
  return type.namespaced ? namespace : undefined;
}

function objectOf(type: ResourceType, answer: unknown): KubeObject {
  const object = trimmed(type, answer);
  if (object === undefined)
    throw new KubeError(`Cannot read a ${type.kind}: expected an object with a name, got something else`, {
      status: 0,
      reason: "Unreadable",
    });
  return object;
}

async function orGone(answer: Promise<unknown>): Promise<unknown> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof KubeError && error.status === 404) return undefined;
    throw error;
  }
}
