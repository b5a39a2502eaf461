/** What `mailboat local` is told; the names of the ports it serves. */

export const listenerNames = ["smtp", "submission", "submissions", "http", "admin"] as const;
export type ListenerName = (typeof listenerNames)[number];

export interface LocalOptions {
  /** Files and folders of resources. */
  readonly files: readonly string[];
  /** Pods of each pool; undefined = its spec.replicas. */
  readonly pods: number | undefined;
  readonly state: string;
  readonly bind: string;
  /** URLs of NATS servers to use in place of one of its own, with commas between them. */
  readonly nats: string | undefined;
  readonly demo: boolean;
  readonly json: boolean;
  readonly resolvers: readonly string[];
  /** 0 = any free port; `metrics` is that of the first pod. */
  readonly ports: Readonly<Record<ListenerName | "metrics", number>>;
  /** The pods' program; default the pod's own entry. */
  readonly podMain?: string;
  /** A line to standard output. */
  print(line: string): void;
  /** A line to standard error. */
  complain(line: string): void;
}

/** Between the ports of one pool and the next. */
export const poolPortStep = 100;
