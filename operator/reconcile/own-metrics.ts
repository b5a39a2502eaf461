/** The operator's metrics of its own matter, beside controller-runtime's. Declared once, with their prose. */
import { Histogram, type Registry } from "prom-client";

export function createOwnMetrics(registry: Registry) {
  const compile = new Histogram({
    name: "mailboat_operator_compile_seconds",
    help: "How long compiling all resources took.",
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [registry],
  });
  const programmed = new Histogram({
    name: "mailboat_operator_programmed_seconds",
    help: "From a pool's new configuration until all of its ready pods report that they run it.",
    buckets: [0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300],
    registers: [registry],
  });
  return {
    compiled: (seconds: number) => compile.observe(seconds),
    programmed: (seconds: number) => programmed.observe(seconds),
  };
}
