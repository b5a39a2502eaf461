/**
 * An API server for tests, over real HTTP on loopback: get, paged list, watch, create, replace, merge patch, server-side apply,
 * delete, status subresource, discovery, metadata-only answers, selectors; and the faults a real one shows.
 *
 *     await using api = await startFakeApiServer({ types: [tenants, configMaps] });
 *     const client = createClient({ kubeconfig: api.kubeconfig, ... });
 *     api.state.create(tenants, {...});        // as another user would; watches see it
 *     api.faults = (request) => (request.method === "PATCH" ? { kind: "status", code: 503 } : undefined);
 *     api.compact(); api.cut(); api.holdWatches(); api.requests
 *
 * What it is not: no schema validation (pass `check`), no defaulting, no RBAC, no controllers: nothing makes pods of a
 * Deployment, and children of deleted owners go when `state.collectGarbage` is called. Ownership in server-side apply is
 * tracked by manager, lists are atomic except conditions, ownerReferences and finalizers.
 */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { KubeObject, ResourceType } from "#operator/kube/types.ts";
import { isFields, matchesFields, matchesLabels } from "./fake-api-server-apply.ts";
import { type Change, createFakeState, type FakeState, keyOf, Refusal } from "./fake-api-server-state.ts";

/** What becomes of a request. Watch faults count the events of that watch. */
export type Fault =
  | {
      readonly kind: "status";
      readonly code: number;
      readonly reason?: string;
      readonly retryAfterSeconds?: number;
    }
  /** No answer until the client gives up. */
  | { readonly kind: "hang" }
  /** The socket breaks before anything is done. */
  | { readonly kind: "cut" }
  /** A write is done, or a list made, and the socket breaks before the answer, or after this many bytes of it. */
  | { readonly kind: "cut-answer"; readonly afterBytes?: number }
  | { readonly kind: "watch"; readonly after: number; readonly then: WatchFault };

/** cut: in the middle of a line; end: as at its time-out; silent: nothing more comes; expire: an ERROR event with 410. */
export type WatchFault = "cut" | "end" | "silent" | "expire" | "error" | "garbage" | "repeat" | "swap";

export interface FakeRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly type: ResourceType | undefined;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
  readonly isWatch: boolean;
  readonly headers: IncomingMessage["headers"];
  readonly body: unknown;
  /** 0 while under way, and for cut sockets. */
  code: number;
}

interface Watch {
  readonly request: FakeRequest;
  readonly response: ServerResponse;
  /** It is told of changes after this version. */
  readonly from: number;
  sent: number;
  muted: boolean;
  held: string | undefined;
}

export interface FakeApiServer extends AsyncDisposable {
  readonly url: string;
  /** Path of a kubeconfig with context `fake`. */
  readonly kubeconfig: string;
  readonly state: FakeState;
  /** Every request so far, in order; clear it with `requests.length = 0`. */
  readonly requests: FakeRequest[];
  /** How often each fault was done: by kind, for watches `watch-KIND`. */
  readonly faultsDone: Map<string, number>;
  faults: ((request: FakeRequest) => Fault | undefined) | undefined;
  /** Watches that are open now. */
  watches(): number;
  /** Breaks all connections. */
  cut(): void;
  /** Forgets all versions before now, and tells open watches so. */
  compact(): void;
  /** Sends every open watch that asked for it a bookmark. */
  bookmark(): void;
  /** Watches see nothing until `releaseWatches`: a cache that lags. */
  holdWatches(): void;
  releaseWatches(): void;
}

export interface FakeApiServerOptions {
  readonly types: readonly ResourceType[];
  readonly port?: number;
  readonly now?: () => number;
  readonly check?: (type: ResourceType, object: KubeObject) => string | undefined;
  /** Accepted bearer token; absent = nobody is asked. */
  readonly token?: () => string;
}

export async function startFakeApiServer(options: FakeApiServerOptions): Promise<FakeApiServer> {
  const watches = new Set<Watch>();
  const sockets = new Set<Socket>();
  const requests: FakeRequest[] = [];
  const faultsDone = new Map<string, number>();
  const count = (fault: string) => faultsDone.set(fault, (faultsDone.get(fault) ?? 0) + 1);
  let held: Change[] | undefined;
  const publish = (change: Change) => {
    for (const watch of watches) deliver(watch, change);
  };
  const state = createFakeState({
    ...(options.now === undefined ? {} : { now: options.now }),
    ...(options.check === undefined ? {} : { check: options.check }),
    changed: (change) => (held === undefined ? publish(change) : held.push(change)),
  });
  const server = createServer((incoming, response) => void serve(incoming, response));
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });

  async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const request = readRequest(options.types, incoming, await bodyOf(incoming));
    requests.push(request);
    const fault = api.faults?.(request);
    response.on("error", () => undefined);
    if (fault !== undefined && fault.kind !== "watch") count(fault.kind);
    try {
      if (fault?.kind === "hang") return;
      if (fault?.kind === "cut") return void incoming.socket.destroy();
      if (fault?.kind === "status") return refuse(request, response, fault);
      const token = options.token?.();
      if (token !== undefined && incoming.headers.authorization !== `Bearer ${token}`)
        throw new Refusal(401, "Unauthorized", "Unauthorized");
      if (request.isWatch) return openWatch(request, response);
      const { code, answer } = act(options, state, request);
      const text = JSON.stringify(answer);
      if (fault?.kind === "cut-answer") return breakOff(response, code, text, fault.afterBytes);
      send(request, response, code, text);
    } catch (error) {
      if (error instanceof Refusal) refuse(request, response, error);
      else refuse(request, response, { code: 500, reason: "InternalError", message: String(error) });
    }
  }

  function openWatch(request: FakeRequest, response: ServerResponse): void {
    const from = Number(request.query.get("resourceVersion") ?? "0");
    const missed = state.since(from);
    if (missed === undefined)
      throw new Refusal(410, "Expired", `too old resource version: ${from} (${state.compactedTo()})`);
    if (from > state.version())
      throw new Refusal(504, "Timeout", `Too large resource version: ${from}, current: ${state.version()}`);
    request.code = 200;
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    const watch: Watch = { request, response, from, sent: 0, muted: false, held: undefined };
    watches.add(watch);
    response.on("close", () => watches.delete(watch));
    const waiting = new Set(held);
    for (const change of missed) if (!waiting.has(change)) deliver(watch, change);
    const seconds = Number(request.query.get("timeoutSeconds") ?? "0");
    if (seconds > 0) {
      const timer = setTimeout(() => response.end(), seconds * 1000);
      response.on("close", () => clearTimeout(timer));
    }
  }

  function deliver(watch: Watch, change: Change): void {
    // Released late, it may be older than what the watch began with.
    if (change.version <= watch.from) return;
    const line = eventLine(watch.request, change);
    if (line === undefined || watch.muted || watch.response.destroyed || watch.response.writableEnded) return;
    const fault = api.faults?.(watch.request);
    const isTurn = fault?.kind === "watch" && watch.sent === fault.after;
    watch.sent += 1;
    if (isTurn) {
      count(`watch-${fault.then}`);
      return misbehave(watch, line, fault.then);
    }
    // In one piece: that a cut falls between two events in the wrong order is more than any client can notice.
    watch.response.write(line + (watch.held ?? ""));
    watch.held = undefined;
  }

  await once(server.listen(options.port ?? 0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const kubeconfig = join(tmpdir(), `fake-api-server-${randomUUID()}.yaml`);
  writeFileSync(kubeconfig, kubeconfigFor(url, options.token?.()), { mode: 0o600 });
  const api: FakeApiServer = {
    url,
    kubeconfig,
    state,
    requests,
    faultsDone,
    faults: undefined,
    watches: () => watches.size,
    cut() {
      for (const socket of sockets) socket.destroy();
    },
    compact() {
      state.compact();
      for (const watch of watches) misbehave(watch, "", "expire");
    },
    bookmark() {
      for (const watch of watches)
        if (
          watch.request.query.get("allowWatchBookmarks") === "true" &&
          !watch.muted &&
          (held ?? watch.held) === undefined
        )
          watch.response.write(bookmarkLine(watch.request, state.version()));
    },
    holdWatches() {
      held ??= [];
    },
    releaseWatches() {
      const changes = held ?? [];
      held = undefined;
      for (const change of changes) publish(change);
    },
    async [Symbol.asyncDispose]() {
      rmSync(kubeconfig, { force: true });
      server.close();
      for (const socket of sockets) socket.destroy();
      if (server.listening) await once(server, "close");
    },
  };
  return api;
}

function misbehave(watch: Watch, line: string, how: WatchFault): void {
  const { response } = watch;
  switch (how) {
    case "cut":
      response.write(line.slice(0, line.length / 2));
      setImmediate(() => response.destroy());
      break;
    case "end":
      response.end();
      break;
    case "silent":
      break;
    case "expire":
      response.end(
        `${JSON.stringify({ type: "ERROR", object: statusFor({ code: 410, reason: "Expired", message: "too old resource version" }) })}\n`,
      );
      break;
    case "error":
      response.end(
        `${JSON.stringify({ type: "ERROR", object: statusFor({ code: 500, reason: "InternalError", message: "etcd event received with PrevKv=nil" }) })}\n`,
      );
      break;
    case "garbage":
      response.end(`{"type": "MODIFIED", "object": {]\n`);
      break;
    case "repeat":
      response.write(line + line);
      return;
    case "swap":
      watch.held = line;
      return;
    default:
      return how satisfies never;
  }
  watch.muted = true;
}

function act(
  options: FakeApiServerOptions,
  state: FakeState,
  request: FakeRequest,
): { code: number; answer: unknown } {
  const { type, namespace, name, method, query } = request;
  if (type === undefined) return { code: 200, answer: discovery(options.types, request.path) };
  const isStatus = request.subresource === "status";
  if (request.subresource !== undefined && !isStatus)
    throw new Refusal(404, "NotFound", "the server could not find the requested resource");
  const options_ = {
    manager: query.get("fieldManager") ?? "unknown",
    force: query.get("force") === "true",
    subresource: isStatus ? ("status" as const) : undefined,
  };
  const body = request.body as KubeObject;
  if (method === "GET" && name === undefined) return { code: 200, answer: page(state, request, type) };
  if (method === "POST") return { code: 201, answer: state.create(type, placed(body, namespace)) };
  if (name === undefined) throw new Refusal(405, "MethodNotAllowed", `${method} is not supported`);
  switch (method) {
    case "GET": {
      const object = state.get(type, namespace, name);
      if (object === undefined) throw new Refusal(404, "NotFound", `${type.plural} "${name}" not found`);
      return { code: 200, answer: shaped(request, object) };
    }
    case "PUT":
      return { code: 200, answer: state.replace(type, placed(body, namespace), options_) };
    case "PATCH": {
      const kind = request.headers["content-type"] ?? "";
      if (kind === "application/merge-patch+json")
        return {
          code: 200,
          answer: answered(request, state.patch(type, { namespace, name }, body, options_)),
        };
      if (kind !== "application/apply-patch+yaml")
        throw new Refusal(
          415,
          "UnsupportedMediaType",
          `the fake API server takes merge patches and applies, got ${kind}`,
        );
      if (!query.has("fieldManager"))
        throw new Refusal(400, "BadRequest", "fieldManager is required for apply patch");
      if (body.metadata["managedFields"] !== undefined)
        throw new Refusal(400, "BadRequest", "metadata.managedFields must be nil");
      const { object, created } = state.apply(type, placed(body, namespace), options_);
      return { code: created ? 201 : 200, answer: answered(request, object) };
    }
    case "DELETE": {
      const preconditions = isFields(request.body) ? (request.body["preconditions"] ?? {}) : {};
      const object = state.remove(type, namespace, name, preconditions);
      if (object.metadata.deletionTimestamp !== undefined) return { code: 200, answer: object };
      return {
        code: 200,
        answer: {
          kind: "Status",
          apiVersion: "v1",
          metadata: {},
          status: "Success",
          details: { name, uid: object.metadata.uid },
        },
      };
    }
    default:
      throw new Refusal(405, "MethodNotAllowed", `${method} is not supported`);
  }
}

/** A page of the list as it stood when paging began: continue tokens carry the version, and die with it. */
function page(state: FakeState, request: FakeRequest, type: ResourceType): unknown {
  const token = request.query.get("continue");
  const from =
    token === null
      ? undefined
      : (JSON.parse(Buffer.from(token, "base64").toString()) as { rv: number; after: string });
  if (from !== undefined && (from.rv < state.compactedTo() || state.since(from.rv) === undefined))
    throw new Refusal(
      410,
      "Expired",
      "The provided continue parameter is too old to display a consistent list result.",
    );
  const snapshot = new Map(state.list(type));
  for (const change of [...(from === undefined ? [] : (state.since(from.rv) ?? []))].reverse()) {
    if (change.type.plural !== type.plural || change.type.group !== type.group) continue;
    const key = keyOf(change.object.metadata.namespace, change.object.metadata.name);
    if (change.before === undefined) snapshot.delete(key);
    else snapshot.set(key, change.before);
  }
  const items = [...snapshot]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .filter(([key, object]) => (from === undefined || key > from.after) && selected(request, object));
  const limit = Number(request.query.get("limit") ?? "0") || items.length;
  const shown = items.slice(0, limit);
  const version = from?.rv ?? state.version();
  const last = shown.at(-1)?.[0];
  const rest = items.length - shown.length;
  const next =
    rest > 0 && last !== undefined
      ? Buffer.from(JSON.stringify({ rv: version, after: last })).toString("base64")
      : undefined;
  const metadataOnly = isMetadataOnly(request);
  return {
    kind: metadataOnly ? "PartialObjectMetadataList" : `${type.kind}List`,
    apiVersion: metadataOnly ? "meta.k8s.io/v1" : apiVersionOf(type),
    metadata: {
      resourceVersion: String(version),
      ...(next === undefined ? {} : { continue: next, remainingItemCount: rest }),
    },
    items: shown.map(([, object]) => listed(request, type, object)),
  };
}

/** Items of built-in kinds come without kind and apiVersion, as from the real one. */
function listed(request: FakeRequest, type: ResourceType, object: KubeObject): unknown {
  if (isMetadataOnly(request) || (type.group.includes(".") && !type.group.endsWith(".k8s.io")))
    return shaped(request, object);
  const { kind: _, apiVersion: __, ...rest } = withManagedFields(object);
  return rest;
}

function shaped(request: FakeRequest, object: KubeObject): unknown {
  const whole = withManagedFields(object);
  if (!isMetadataOnly(request)) return whole;
  return { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: whole.metadata };
}

/** A write's answer: the whole object unless its metadata is asked for. */
function answered(request: FakeRequest, object: KubeObject): unknown {
  return isMetadataOnly(request) ? shaped(request, object) : object;
}

function withManagedFields(object: KubeObject): KubeObject {
  return {
    ...object,
    metadata: { ...object.metadata, managedFields: [{ manager: "fake", operation: "Update" }] },
  };
}

function eventLine(
  request: FakeRequest,
  { type, object, before, kind, version }: Change,
): string | undefined {
  if (request.type?.plural !== type.plural || request.type.group !== type.group) return undefined;
  if (request.namespace !== undefined && object.metadata.namespace !== request.namespace) return undefined;
  const was = before !== undefined && selected(request, before);
  const is = kind !== "DELETED" && selected(request, object);
  if (!was && !is) return undefined;
  const shown = is
    ? object
    : {
        ...(before ?? object),
        metadata: { ...(before ?? object).metadata, resourceVersion: String(version) },
      };
  const event = { type: is ? (was ? "MODIFIED" : "ADDED") : "DELETED", object: shaped(request, shown) };
  return `${JSON.stringify(event)}\n`;
}

function bookmarkLine({ type }: FakeRequest, version: number): string {
  const object = {
    kind: type?.kind,
    apiVersion: type === undefined ? "v1" : apiVersionOf(type),
    metadata: { resourceVersion: String(version), creationTimestamp: null },
  };
  return `${JSON.stringify({ type: "BOOKMARK", object })}\n`;
}

function selected({ namespace, query }: FakeRequest, object: KubeObject): boolean {
  return (
    (namespace === undefined || object.metadata.namespace === namespace) &&
    matchesLabels(query.get("labelSelector"), object.metadata.labels) &&
    matchesFields(query.get("fieldSelector"), object)
  );
}

function isMetadataOnly({ headers }: FakeRequest): boolean {
  return (headers.accept ?? "").includes("as=PartialObjectMetadata");
}

function apiVersionOf({ group, version }: ResourceType): string {
  return group === "" ? version : `${group}/${version}`;
}

function placed(object: KubeObject, namespace: string | undefined): KubeObject {
  if (!isFields(object) || !isFields(object.metadata))
    throw new Refusal(400, "BadRequest", "the body is not an object");
  if (namespace === undefined) return object;
  if (object.metadata.namespace !== undefined && object.metadata.namespace !== namespace)
    throw new Refusal(
      400,
      "BadRequest",
      "the namespace of the object does not match the namespace on the request",
    );
  return { ...object, metadata: { ...object.metadata, namespace } };
}

function discovery(types: readonly ResourceType[], path: string): unknown {
  const served = types.filter(
    (type) => path === (type.group === "" ? `/api/${type.version}` : `/apis/${apiVersionOf(type)}`),
  );
  if (served.length === 0)
    throw new Refusal(404, "NotFound", "the server could not find the requested resource");
  return {
    kind: "APIResourceList",
    apiVersion: "v1",
    groupVersion: path.split("/").slice(2).join("/"),
    resources: served.map(({ plural, kind, namespaced }) => ({
      name: plural,
      kind,
      namespaced,
      verbs: ["get", "list", "watch"],
    })),
  };
}

function readRequest(
  types: readonly ResourceType[],
  { url = "/", method = "GET", headers }: IncomingMessage,
  body: unknown,
): FakeRequest {
  const { pathname, searchParams } = new URL(url, "http://fake");
  const steps = pathname.split("/").filter(Boolean).map(decodeURIComponent);
  const [group, version, ...rest] = steps[0] === "api" ? ["", ...steps.slice(1)] : steps.slice(1);
  const namespace = rest[0] === "namespaces" && rest.length > 2 ? rest[1] : undefined;
  const [plural, name, subresource] = namespace === undefined ? rest : rest.slice(2);
  const type = types.find((one) => one.group === group && one.version === version && one.plural === plural);
  const isWatch = searchParams.get("watch") === "true" || searchParams.get("watch") === "1";
  return {
    method,
    path: pathname,
    query: searchParams,
    type,
    namespace,
    name,
    subresource,
    isWatch,
    headers,
    body,
    code: 0,
  };
}

async function bodyOf(incoming: IncomingMessage): Promise<unknown> {
  let text = "";
  try {
    for await (const chunk of incoming) text += String(chunk);
  } catch {
    return undefined;
  }
  return text === "" ? undefined : (JSON.parse(text) as unknown);
}

function send(request: FakeRequest, response: ServerResponse, code: number, text: string): void {
  request.code = code;
  response.writeHead(code, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
}

interface Refused {
  readonly code: number;
  readonly reason?: string;
  readonly message?: string;
  readonly retryAfterSeconds?: number;
}

function refuse(request: FakeRequest, response: ServerResponse, refused: Refused): void {
  if (refused.retryAfterSeconds !== undefined) response.setHeader("retry-after", refused.retryAfterSeconds);
  send(request, response, refused.code, JSON.stringify(statusFor(refused)));
}

function statusFor({ code, reason = "Fault", message = "injected", retryAfterSeconds }: Refused): object {
  const details = retryAfterSeconds === undefined ? {} : { details: { retryAfterSeconds } };
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message,
    reason,
    code,
    ...details,
  };
}

function breakOff(response: ServerResponse, code: number, text: string, afterBytes = 0): void {
  if (afterBytes > 0) {
    response.writeHead(code, {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(text),
    });
    response.write(text.slice(0, Math.min(afterBytes, text.length - 1)));
  }
  setImmediate(() => response.destroy());
}

function kubeconfigFor(server: string, token: string | undefined): string {
  const named = (name: string, fields: object) => ({ name, ...fields });
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "fake",
    // client-node refuses plain HTTP unless told that nobody checks certificates.
    clusters: [named("fake", { cluster: { server, "insecure-skip-tls-verify": true } })],
    users: [named("fake", { user: token === undefined ? {} : { token } })],
    contexts: [named("fake", { context: { cluster: "fake", user: "fake" } })],
  });
}
