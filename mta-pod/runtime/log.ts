/** The log as rooms see it: a fixed verb plus fields. Built once in main (pino); never throws. */

export interface Log {
  debug(verb: string, fields?: object): void;
  info(verb: string, fields?: object): void;
  warn(verb: string, fields?: object): void;
  error(verb: string, fields?: object): void;
}

/** A log that says nothing: for tests and for tools that print their own lines. */
export const silentLog: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
