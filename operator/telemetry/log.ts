/** The operator's log: JSON lines on standard error, by pino. Never throws; a closed standard error loses lines. */
import pino from "pino";

export interface OperatorLog {
  debug(verb: string, fields?: object): void;
  info(verb: string, fields?: object): void;
  warn(verb: string, fields?: object): void;
  error(verb: string, fields?: object): void;
}

/** `level` is pino's: debug, info, warn, error. `fields` stand in every line. */
export function createLog(level: string, fields: object): OperatorLog {
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
