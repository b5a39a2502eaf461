/** How busy the event loop is. Never fails. */
import { performance } from "node:perf_hooks";

/** The share of the time since the last call that the loop was busy, waiting for a processor included; 0 to 1. */
export function createLoopWatch(): () => number {
  let last = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, last);
    last = now;
    return utilization;
  };
}
