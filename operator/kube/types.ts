/** What the rest of the operator knows of the API server: its objects, and the few calls and machines of this room. Types only. */

/** A kind as the API server serves it. */
export interface ResourceType {
  /** "" for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

export interface ObjectRef {
  /** Absent for kinds that have none. */
  readonly namespace?: string | undefined;
  readonly name: string;
}

interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

/** The fields that are read or written here; the API server's others are kept as they come, except managedFields. */
interface ObjectMeta {
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  ownerReferences?: OwnerReference[];
  [field: string]: unknown;
}

/** JSON as the API server gives and takes it. What stores and answers hold is shared: never write into it. */
export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  [field: string]: unknown;
}

/** What a write is answered with. */
type Written = Pick<KubeObject, "metadata">;

/** Time as an argument: readings and one-shot timers together, so that a test holds both still. */
export interface Clock {
  /** Milliseconds since 1970; may jump. */
  now(): number;
  /** Milliseconds since some start; never jumps. */
  monotonic(): number;
  /** Runs `run` once after `ms`; the answer cancels. A timer alone keeps no process alive. */
  after(ms: number, run: () => void): () => void;
}

/** 0 ≤ value < 1. */
export type Random = () => number;

export interface Log {
  debug(verb: string, fields?: object): void;
  info(verb: string, fields?: object): void;
  warn(verb: string, fields?: object): void;
  error(verb: string, fields?: object): void;
}

/** What a work queue shows when it is scraped. */
export interface QueueGauges {
  /** Keys that wait, by priority. */
  readonly high: number;
  readonly low: number;
  /** Reconciles that run, and that may run. */
  readonly active: number;
  readonly workers: number;
  /** Sum of the times that the running ones have taken so far, and the longest of them. */
  readonly unfinishedSeconds: number;
  readonly longestSeconds: number;
}

type ReconcileResult = "success" | "error" | "requeue_after";

export interface QueueCounts {
  added(): void;
  retried(): void;
  started(waitedSeconds: number): void;
  ended(result: ReconcileResult, seconds: number): void;
  /** A bug rather than trouble: TypeError and the like. */
  panicked(): void;
  timedOut(): void;
}

/** Where this room counts; the telemetry room gives them controller-runtime's names. */
export interface KubeMetrics {
  /** `code` is the HTTP status, or "<error>" when none came. */
  request(code: string, method: string, host: string): void;
  queue(name: string, read: () => QueueGauges): QueueCounts;
  leading(lease: string, isLeader: boolean): void;
}

export interface ListOptions {
  /** Absent: all namespaces. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

interface ObjectList {
  readonly items: KubeObject[];
  readonly resourceVersion: string;
}

export interface ApplyOptions {
  /** Take fields from other managers; true unless said otherwise. */
  readonly force?: boolean;
  readonly subresource?: "status";
}

interface DeleteOptions {
  /** Refused with 409 when the object is another one by now. */
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly propagation?: "Background" | "Foreground" | "Orphan";
}

/**
 * Calls to the API server. All reject with KubeError for an answer other than those said here, and for an API server that
 * cannot be reached (status 0) after a few attempts; what may be repeated is repeated inside, for 30 s at most.
 */
export interface KubeClient {
  /**
   * undefined = 404. With a resourceVersion that is known of the object, the API server answers out of its memory with that or a newer
   * one, which costs it half; without, with the newest.
   */
  get(
    type: ResourceType,
    ref: ObjectRef,
    options?: { readonly resourceVersion?: string | undefined },
  ): Promise<KubeObject | undefined>;
  /** Paged inside; everything in memory at once. A kind that is not served rejects with 404. */
  list(type: ResourceType, options?: ListOptions): Promise<ObjectList>;
  /** 409 AlreadyExists rejects. */
  create(type: ResourceType, object: KubeObject): Promise<KubeObject>;
  /**
   * Server-side apply as field manager `mailboat`. With metadata.resourceVersion it is refused (409) on another version. The answer
   * has the metadata alone.
   */
  apply(type: ResourceType, object: KubeObject, options?: ApplyOptions): Promise<Written>;
  /** JSON merge patch (RFC 7386). undefined = 404. With metadata.resourceVersion in it: 409 on another version. Answers as `apply` does. */
  patch(
    type: ResourceType,
    ref: ObjectRef,
    mergePatch: object,
    options?: { readonly subresource?: "status" },
  ): Promise<Written | undefined>;
  /** false = it was gone. An object with finalizers stays, with a deletionTimestamp. */
  delete(type: ResourceType, ref: ObjectRef, options?: DeleteOptions): Promise<boolean>;
  /** Whether the API server serves this kind now (discovery; asked each time). */
  hasType(type: ResourceType): Promise<boolean>;
  /** What reflectors and elections speak through. */
  readonly transport: Transport;
  /** Lets go of idle connections. */
  close(): void;
}

/** A request as the HTTP layer takes it. */
export interface TransportRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Path and query. */
  readonly path: string;
  readonly accept?: string;
  readonly contentType?: string;
  /** More of them, for whom a request is passed on to. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal;
}

export interface Transport {
  /** One attempt: parsed JSON, or KubeError. The answer is bounded in bytes and time. */
  json(request: TransportRequest): Promise<unknown>;
  /** One attempt: each line of the answer as it comes, until the server ends it. KubeError for a status that is not 200. */
  lines(request: TransportRequest, limits: { readonly maxLineBytes: number }): AsyncIterable<string>;
}

export interface Reflector {
  /** By "namespace/name" (or "name"). Frozen by convention: never write into what it holds. */
  readonly store: ReadonlyMap<string, KubeObject>;
  /** Whether one list was read to its end. */
  synced(): boolean;
  whenSynced(): Promise<void>;
  /** The newest resourceVersion that the store reflects; "" before the first list. */
  resourceVersion(): string;
  /** Milliseconds since the API server was last heard of: a minute or two at most while all is well. */
  silentMs(): number;
  stop(): void;
}

export interface ChangeInfo {
  /** True for what the first list brought: queues may take it later than a user's edit. */
  readonly isInitial: boolean;
  /** What the store held before. */
  readonly before: KubeObject | undefined;
}

export type QueuePriority = "high" | "low";

export interface WorkQueue {
  /** `high` unless said otherwise. A key that waits is not added twice; its higher priority counts. */
  add(key: string, options?: { readonly priority?: QueuePriority }): void;
  /** The earliest of several times counts. */
  addAfter(key: string, ms: number): void;
  /** Starts nothing more, aborts the signal of what runs, and resolves when all of it has ended. */
  stop(): Promise<void>;
  /** Keys that wait to be worked on (not those that wait for their time). */
  depth(): number;
}

export interface Election {
  /** Resolves when this process leads; never, if it was released before. */
  readonly acquired: Promise<void>;
  isLeader(): boolean;
  /** Gives the lease up so that another takes it at once; stops trying. */
  release(): Promise<void>;
}

/** A version that a write made. */
export interface WrittenVersion {
  readonly type: ResourceType;
  /** Where the object is; absent for kinds without namespaces. */
  readonly namespace?: string | undefined;
  /** As the write's answer gave it. */
  readonly resourceVersion: string;
}

/** After a write a key is not reconciled until the reflector has seen the written version (KEP-5647's idea). */
export interface Expectations {
  wrote(key: string, written: WrittenVersion): void;
  /** True when each version noted for the key has been seen by the reflector of its kind and namespace, or 10 s have gone by. */
  fulfilled(key: string): boolean;
  forget(key: string): void;
}
