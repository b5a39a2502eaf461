/** The log of a process: JSON lines on standard error, by pino. Never throws; a closed stderr loses lines, not mail. */
import type { Log } from "#mta-pod/runtime/log.ts";
import pino from "pino";

/** `level` is pino's: debug, info, warn, error. `fields` stand in every line. */
export function createLog(level: string, fields: object): Log {
  const logger = pino(
    { level, base: fields, timestamp: pino.stdTimeFunctions.isoTime, messageKey: "event" },
    pino.destination({ dest: 2, sync: false }),
  );
  return {
    debug: (verb, extra) => logger.debug(extra ?? {}, verb),
    info: (verb, extra) => logger.info(extra ?? {}, verb),
    warn: (verb, extra) => logger.warn(extra ?? {}, verb),
    error: (verb, extra) => logger.error(extra ?? {}, verb),
  };
}
