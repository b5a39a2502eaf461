/**
 * Keeps a map of one kind's objects true to the API server: a paged list, then a watch from its version, for ever. Never rejects and
 * never gives up; an outage makes the map old, not empty. Own code, since client-node's informer ends at the first fault.
 */
import { pause } from "./clock.ts";
import { KubeError } from "./errors.ts";
import { collectionPath, keyOf, selectionOf, withQuery } from "./paths.ts";
import { pagesOf } from "./pages.ts";
import { compareVersions } from "./versions.ts";
import { parseWatchEvent } from "./watch-event.ts";
import { noTrouble, planNext, type Trouble } from "./watch-plan.ts";
import type {
  ChangeInfo,
  Clock,
  KubeClient,
  KubeObject,
  ListOptions,
  Log,
  ObjectRef,
  Random,
  Reflector,
  ResourceType,
} from "./types.ts";

export interface ReflectorOptions extends ListOptions {
  readonly client: Pick<KubeClient, "transport">;
  readonly clock: Clock;
  readonly random?: Random;
  readonly log?: Log | undefined;
  readonly type: ResourceType;
  /** Only metadata is asked for, kept and given; for Secrets, whose contents are nobody's business here. */
  readonly metadataOnly?: boolean;
  /**
   * Called after the store changed, in the order of versions for each object; undefined = it is gone. An object that was deleted
   * and made again out of sight is one change: compare uids. What it throws is logged.
   */
  onChange(ref: ObjectRef, object: KubeObject | undefined, info: ChangeInfo): void;
  /** Takes away what nobody will read before an object is kept. */
  readonly trim?: (object: KubeObject) => KubeObject;
  readonly tuning?: Partial<ReflectorTuning>;
}

interface ReflectorTuning {
  readonly pageSize: number;
  /** The API server ends each watch between this and twice this. */
  readonly minWatchSeconds: number;
  /** A watch that says nothing for so long is taken for dead; bookmarks come each minute. */
  readonly idleMs: number;
  readonly maxLineBytes: number;
}

const usual: ReflectorTuning = {
  pageSize: 500,
  minWatchSeconds: 300,
  idleMs: 150_000,
  // An object is at most 1.5 MiB in etcd; as JSON, escaped and with managedFields, some times more.
  maxLineBytes: 8 * 1024 * 1024,
};

/** No fall-back to whole objects, which would bring the contents of Secrets. */
const metadataEvents = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/** A watch that stood for so long without a word was no failure. */
const steadyMs = 5000;

interface State {
  readonly options: ReflectorOptions;
  readonly tuning: ReflectorTuning;
  readonly stopped: AbortController;
  readonly store: Map<string, KubeObject>;
  version: string;
  isSynced: boolean;
  heardAt: number;
}

/** @example createReflector({ client, clock, type: tenants, onChange: (ref) => queue.add(keyOf(ref)) }) */
export function createReflector(options: ReflectorOptions): Reflector {
  const state: State = {
    options,
    tuning: { ...usual, ...options.tuning },
    stopped: new AbortController(),
    store: new Map(),
    version: "",
    isSynced: false,
    heardAt: options.clock.monotonic(),
  };
  const synced = Promise.withResolvers<void>();
  void run(state, () => synced.resolve());
  return {
    store: state.store,
    synced: () => state.isSynced,
    whenSynced: () => synced.promise,
    resourceVersion: () => state.version,
    silentMs: () => options.clock.monotonic() - state.heardAt,
    stop: () => state.stopped.abort(),
  };
}

async function run(state: State, onSynced: () => void): Promise<void> {
  const { clock, log, type, random = Math.random } = state.options;
  const { signal } = state.stopped;
  let trouble: Trouble = noTrouble;
  let listNext = true;
  while (!signal.aborted) {
    let startedAt = clock.monotonic();
    let error: KubeError | undefined;
    let wasUseful = false;
    try {
      if (listNext) {
        await list(state);
        listNext = false;
        if (!state.isSynced) log?.info("synced", { kind: type.kind, objects: state.store.size });
        state.isSynced = true;
        onSynced();
      }
      startedAt = clock.monotonic();
      await watch(state, () => {
        wasUseful = true;
      });
    } catch (caught) {
      error = caught instanceof KubeError ? caught : unexpected(caught);
    }
    if (signal.aborted) return;
    // Aborted: by the idle limit, as the API server sends no bookmarks.
    wasUseful ||=
      (error === undefined || error.reason === "Aborted") && clock.monotonic() - startedAt >= steadyMs;
    const plan = planNext({ error, wasUseful }, trouble, random);
    trouble = plan;
    listNext ||= plan.listAgain;
    if (error !== undefined)
      log?.[plan.failures > 3 ? "warn" : "debug"]("watch-ended", {
        kind: type.kind,
        reason: error.message,
        retryMs: plan.waitMs,
        listAgain: listNext,
      });
    await pause(clock, plan.waitMs, signal);
  }
}

/** Brings the store up to a snapshot page by page; what the snapshot lacks goes at its end. */
async function list(state: State): Promise<void> {
  const { client, clock, random = Math.random, type, metadataOnly } = state.options;
  let seen = new Set<string>();
  const pages = pagesOf({
    transport: client.transport,
    clock,
    random,
    type,
    selection: state.options,
    metadataOnly,
    signal: state.stopped.signal,
    pageSize: state.tuning.pageSize,
  });
  let resourceVersion = "";
  for await (const page of pages) {
    if (state.stopped.signal.aborted) return;
    state.heardAt = clock.monotonic();
    if (page.isFirst) seen = new Set();
    for (const object of page.items) {
      seen.add(keyOf(object.metadata));
      put(state, object);
    }
    ({ resourceVersion } = page);
  }
  for (const [key, object] of state.store) if (!seen.has(key)) drop(state, object);
  state.version = resourceVersion;
}

/** Resolves when the API server ends the watch; rejects when something else does. */
async function watch(state: State, onUse: () => void): Promise<void> {
  const { client, clock, random = Math.random, type, metadataOnly, namespace } = state.options;
  const { minWatchSeconds, idleMs, maxLineBytes } = state.tuning;
  const current = new AbortController();
  const stop = () => current.abort();
  state.stopped.signal.addEventListener("abort", stop, { once: true });
  let disarm = clock.after(idleMs, stop);
  const path = withQuery(collectionPath(type, namespace), {
    watch: 1,
    allowWatchBookmarks: true,
    resourceVersion: state.version,
    // Spread, so that not all watches of all replicas come back at one moment.
    timeoutSeconds: Math.round(minWatchSeconds * (1 + random())),
    ...selectionOf(state.options),
  });
  try {
    const accept = metadataOnly === true ? { accept: metadataEvents } : {};
    const request = { method: "GET", path, signal: current.signal, ...accept } as const;
    for await (const line of client.transport.lines(request, { maxLineBytes })) {
      if (state.stopped.signal.aborted) return;
      disarm();
      disarm = clock.after(idleMs, stop);
      state.heardAt = clock.monotonic();
      take(state, line);
      onUse();
    }
  } finally {
    disarm();
    state.stopped.signal.removeEventListener("abort", stop);
  }
}

function take(state: State, line: string): void {
  const { type } = state.options;
  const event = parseWatchEvent(type, line);
  const order = compareVersions(event.resourceVersion, state.version);
  if (event.kind === "bookmark") {
    if (order === undefined || order > 0) state.version = event.resourceVersion;
    return;
  }
  // Versions of one kind grow in every watch: where they do not, something was lost or mixed up on the way.
  if (order !== undefined && order < 0)
    throw new KubeError(
      `Cannot watch ${type.plural}: expected a version after ${state.version}, got ${event.resourceVersion}`,
      { status: 0, reason: "Disorder" },
    );
  if (event.kind === "put") put(state, event.object);
  else drop(state, event.object);
  state.version = event.resourceVersion;
}

function put(state: State, object: KubeObject): void {
  const key = keyOf(object.metadata);
  const before = state.store.get(key);
  const { uid, resourceVersion } = object.metadata;
  // Seen before: a list after an outage, or an event that came twice.
  if (before?.metadata.uid === uid && before?.metadata.resourceVersion === resourceVersion) return;
  const kept = state.options.trim?.(object) ?? object;
  state.store.set(key, kept);
  tell(state, kept, { object: kept, before });
}

function drop(state: State, { metadata }: KubeObject): void {
  const key = keyOf(metadata);
  const before = state.store.get(key);
  if (before === undefined) return;
  state.store.delete(key);
  tell(state, before, { object: undefined, before });
}

function tell(
  state: State,
  { metadata: { namespace, name } }: KubeObject,
  { object, before }: { object: KubeObject | undefined; before: KubeObject | undefined },
): void {
  try {
    state.options.onChange({ namespace, name }, object, { isInitial: !state.isSynced, before });
  } catch (error) {
    state.options.log?.error("on-change-failed", {
      kind: state.options.type.kind,
      namespace,
      name,
      error: String(error),
    });
  }
}

function unexpected(cause: unknown): KubeError {
  return new KubeError(`Cannot watch: ${String(cause)}`, { status: 0, reason: "Unexpected", cause });
}
