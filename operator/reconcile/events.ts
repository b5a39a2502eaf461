/**
 * Events of Kubernetes: for people who look, never the record of state. The same again within ten minutes raises a count; an
 * object that has much to say is cut short. What cannot be written is dropped.
 */
import { hashToken } from "#crds/values/hash.ts";
import type { Clock, KubeClient, KubeObject, Log } from "#operator/kube/types.ts";
import { kinds } from "./kinds.ts";

export interface EventRecorder {
  record(object: KubeObject, event: RecordedEvent): void;
}

interface RecordedEvent {
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly note: string;
}

export interface EventRecorderOptions {
  readonly client: Pick<KubeClient, "create" | "patch">;
  readonly clock: Clock;
  readonly log: Log;
  /** The operator's pod. */
  readonly instance: string;
}

interface Series {
  readonly name: string;
  count: number;
  lastAt: number;
}

const sameForMs = 600_000;
/** An object may say so many things at once, and then one every 30 s. */
const burst = 20;
const refillMs = 30_000;
const maxKnown = 5000;
const maxUnderWay = 64;
/** What the API server takes of a note, in bytes. */
const maxNote = 1024;
/** Of an object's name in an event's, which has up to 253 characters. */
const maxOwnName = 200;

export function createEventRecorder({ client, clock, log, instance }: EventRecorderOptions): EventRecorder {
  const series = new Map<string, Series>();
  const spent = new Map<string, { left: number; at: number }>();
  let underWay = 0;
  let made = 0;

  const mayTell = (uid: string, now: number): boolean => {
    const known = spent.get(uid) ?? { left: burst, at: now };
    const left = Math.min(burst, known.left + (now - known.at) / refillMs);
    if (spent.size >= maxKnown) spent.clear();
    const may = left >= 1;
    // What was refused costs nothing: who talks all the time is still heard every 30 s.
    spent.set(uid, { left: may ? left - 1 : left, at: now });
    return may;
  };

  const write = async (object: KubeObject, event: RecordedEvent, known: Series): Promise<void> => {
    const time = microTime(clock.now());
    const namespace = object.metadata.namespace ?? "default";
    if (known.count > 1) {
      const patch = { series: { count: known.count, lastObservedTime: time } };
      await client.patch(kinds.events, { namespace, name: known.name }, patch);
      return;
    }
    const { apiVersion, kind, metadata } = object;
    await client.create(kinds.events, {
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      metadata: { name: known.name, namespace },
      eventTime: time,
      type: event.type,
      reason: event.reason,
      note: cut(event.note),
      action: "Reconcile",
      reportingController: "mailboat.dev/operator",
      reportingInstance: instance,
      regarding: {
        apiVersion,
        kind,
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        resourceVersion: metadata.resourceVersion,
      },
    });
  };

  return {
    record(object, event) {
      const now = clock.monotonic();
      const uid = object.metadata.uid ?? "";
      if (underWay >= maxUnderWay || !mayTell(uid, now)) return;
      const key = `${uid} ${event.type} ${event.reason} ${event.note}`;
      const before = series.get(key);
      const isSame = before !== undefined && now - before.lastAt < sameForMs;
      const name = isSame
        ? before.name
        : `${ownName(object)}.${hashToken(`${key} ${clock.now()} ${made++}`)}`;
      const known: Series = { name, count: isSame ? before.count + 1 : 1, lastAt: now };
      if (series.size >= maxKnown) series.clear();
      series.set(key, known);
      underWay++;
      write(object, event, known)
        .catch((error: unknown) =>
          log.debug("event not written", { reason: event.reason, error: String(error) }),
        )
        .finally(() => underWay--);
    },
  };
}

/** Parts between the dots of a name end in a letter or a digit. */
function ownName({ metadata }: KubeObject): string {
  return metadata.name.slice(0, maxOwnName).replace(/[^a-z0-9]+$/, "");
}

function cut(note: string): string {
  if (Buffer.byteLength(note) <= maxNote) return note;
  const end = "…";
  // Decoded as a stream, a letter that is not whole is kept back.
  const bytes = Buffer.from(note).subarray(0, maxNote - Buffer.byteLength(end));
  return new TextDecoder().decode(bytes, { stream: true }) + end;
}

/** RFC 3339 with microseconds, as the API server wants it. */
function microTime(ms: number): string {
  return new Date(ms).toISOString().replace("Z", "000Z");
}
