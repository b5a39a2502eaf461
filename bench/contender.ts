/** What a benchmark needs of a mail path: start it towards the sink, know its processes, stop it. Types only. */
import type { Scenario } from "./scenarios.ts";

export interface StartOptions {
  readonly scenario: Scenario;
  readonly sinkPort: number;
  readonly pods: number;
  /** An empty folder for its state. */
  readonly folder: string;
  readonly env?: NodeJS.ProcessEnv;
}

export interface RunningPath {
  readonly smtpPort: number;
  readonly podPids: readonly number[];
  readonly natsPid: number;
  stop(): Promise<void>;
}

export interface Contender {
  readonly name: string;
  start(options: StartOptions): Promise<RunningPath>;
}
