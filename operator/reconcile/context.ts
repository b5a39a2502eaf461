/** What the reconcilers share: the machines that operator.ts puts together. Types only. */
import type { KubeClient, Clock, Log } from "#operator/kube/types.ts";
import type { Streams } from "#operator/streams/streams.ts";
import type { Autoscaling } from "./autoscaling.ts";
import type { Children } from "./children.ts";
import type { Configuration } from "./configuration.ts";
import type { EventRecorder } from "./events.ts";
import type { FormerPools } from "./former-pools.ts";
import type { Reports } from "./reports.ts";
import type { SecretValues } from "./secrets.ts";
import type { StatusWriter } from "./status-writer.ts";
import type { Stores } from "./stores.ts";

export interface Context {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly stores: Stores;
  readonly secrets: SecretValues;
  readonly formerPools: FormerPools;
  readonly configuration: Configuration;
  readonly children: Children;
  readonly reports: Reports;
  readonly streams: Streams;
  readonly autoscaling: Autoscaling;
  readonly statuses: StatusWriter;
  readonly events: EventRecorder;
  readonly images: { readonly pod: string; readonly pullPolicy: string | undefined };
  readonly podMonitorLabels: Readonly<Record<string, string>> | undefined;
  /** How long a new configuration took to reach all ready pods of its pool. */
  programmed(seconds: number): void;
  /** Notes a write of the resource's status, so that it is not reconciled before the watch has seen it. */
  wrote(name: "tenants" | "pools" | "shapes", key: string, resourceVersion: string): void;
}

export interface Outcome {
  readonly requeueAfterMs?: number;
}
