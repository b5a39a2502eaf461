/** What a benchmark needs of a mail path: start it towards the sink, know its processes, stop it. Types only. */
import type { RunKeys } from "./keys.ts";
import type { Scenario } from "./scenarios.ts";

/** What a 250 promises: "os", that the page cache has the message; "disk", that the disk has it. */
export type Durability = "os" | "disk";

export interface StartOptions {
  readonly scenario: Scenario;
  readonly durability: Durability;
  readonly keys: RunKeys;
  readonly sinkPort: number;
  /** Of the next hop for `slowDomain`; undefined = the scenario has nothing for it. */
  readonly slowPort: number | undefined;
  readonly pods: number;
  /** An empty folder for its state. */
  readonly folder: string;
  readonly env?: NodeJS.ProcessEnv;
}

export interface RunningPath {
  readonly smtpPort: number;
  /** Of a peer: those that run now. */
  readonly podPids: readonly number[];
  /** Undefined for peers, which keep their own queue. */
  readonly natsPid: number | undefined;
  /** CPU-seconds of all that ever ran in it, where processes come and go; else those of `podPids` are counted. */
  cpuSeconds?(): number;
  /** Collections of garbage of more than 50 ms so far, in all pods; absent = it does not tell. */
  longCollections?(): Promise<number>;
  stop(): Promise<void>;
}

export interface Contender {
  readonly name: string;
  start(options: StartOptions): Promise<RunningPath>;
}
