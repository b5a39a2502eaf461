/** Condition types and reasons as closed lists, and the status schema that all kinds share. Pure. */
import { z } from "zod";
import { described, keyedList } from "./fields.ts";

/** The last five are there only while True (kstatus). */
const conditionTypes = [
  "Accepted",
  "ResolvedRefs",
  "Programmed",
  "Ready",
  "Reconciling",
  "Stalled",
  "Paused",
  "Moving",
  "Deleting",
] as const;
export type ConditionType = (typeof conditionTypes)[number];

/** Each reason with what it means; documentation lists this table. */
export const reasons = {
  Accepted: "The resource is valid and part of the compiled configuration.",
  Invalid: "The resource contradicts itself in a way that the schema cannot see.",
  DomainConflict: "A sender domain belongs to an older tenant of the pool and was left out.",
  UsernameConflict: "A login belongs to an older credential of the pool and was left out.",
  ConfigTooLarge: "Its part of the compiled configuration is over the size limit.",
  RefNotPermitted:
    "It refers to a pool of another namespace that does not let it in (`allowedTenants`), and stays in the one that it was in, if any.",
  ResolvedRefs: "Everything that it refers to was found.",
  PoolNotFound:
    "The SendingPool does not exist or was not accepted; the tenant stays in the pool that it was in, if any.",
  TrafficShapeNotFound: "A TrafficShape does not exist.",
  TenantNotFound: "A tenant that is trusted by address does not exist or is not in this pool.",
  SecretNotFound: "A Secret does not exist; what needs it was left out.",
  SecretKeyNotFound: "A Secret lacks a key; what needs it was left out.",
  SecretInvalid: "A Secret's value cannot be used; what needs it was left out.",
  Programmed: "Every ready pod runs this generation.",
  PodsBehind: "Pods have not taken over the newest configuration yet.",
  PodsRefused: "Pods refuse the newest configuration and keep the last good one.",
  PodsUnknown: "Pods cannot be asked what they run.",
  NoPods: "No pod is ready.",
  Ready: "It does what it says, as far as Mailboat can see.",
  NotAccepted: "It was not accepted, so it is not in force.",
  RefsUnresolved: "Something that it refers to is missing; the rest is in force.",
  NotProgrammed: "It is accepted and on its way to the pods.",
  PodsNotReady: "Fewer pods are ready than are wanted.",
  ScaledToZero: "No pods are wanted; mail is not sent.",
  RollingOut: "Pods are being replaced.",
  Scaling: "Pods are being added or taken away.",
  WriteRefused: "The API server refuses an object that is part of it.",
  NameTaken: "An object of a name that it needs belongs to somebody else.",
  QueueUnreachable: "NATS cannot be reached or refuses the pool.",
  QueueRefused:
    "JetStream does not make the pool's streams: no room, fewer servers than copies, streams of another kind.",
  Paused: "The annotation mailboat.dev/paused keeps the operator away; pods run on.",
  LeftBehind: "Mail of it is still queued in a pool that it was in before, and is sent from there.",
  QueueKept:
    "The pool goes with its pods; what it has queued stays in JetStream, for a SendingPool of the same name.",
  Draining: "What is queued is being sent before it goes.",
  Discarding: "What is queued is being dropped before it goes.",
  DrainTimedOut: "The time to drain is over; what was left is being dropped.",
} as const;
export type Reason = keyof typeof reasons;

/** A condition as the compiler decides it; whoever writes it adds the time of its last change. */
export interface Condition {
  readonly type: ConditionType;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: Reason;
  readonly message: string;
}

export const maxConditionMessage = 1024;

export const conditionsSchema = described(
  "What is known about the resource, by type.",
  keyedList(
    z.strictObject({
      type: z.enum(conditionTypes),
      status: z.enum(["True", "False", "Unknown"]),
      reason: z.string().max(128),
      message: z.string().max(maxConditionMessage),
      observedGeneration: z.int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
      lastTransitionTime: z.string().max(64),
    }),
    "type",
    16,
  ),
);

export const observedGeneration = described(
  "Generation of the spec that this status speaks of.",
  z.int().min(0).max(Number.MAX_SAFE_INTEGER),
);
