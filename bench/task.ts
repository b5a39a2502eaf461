/** What each task of the benchmark is given. Types only. */
import type { Tools } from "./build.ts";
import type { Options } from "./options.ts";

export interface Run {
  readonly options: Options;
  readonly tools: Tools;
  /** A line for people. */
  say(line: string): void;
}
