/** Who asks a process to stop: a signal, or a parent that is gone. Only the asking: what stops, and how often it may be asked, is the caller's. */

/** @param exitWithParent also when standard input ends */
export function onStopRequest(stop: (reason: string) => void, exitWithParent: boolean): void {
  process.on("SIGTERM", () => stop("SIGTERM"));
  process.on("SIGINT", () => stop("SIGINT"));
  if (!exitWithParent) return;
  process.stdin.on("end", () => stop("parent is gone"));
  process.stdin.on("error", () => stop("parent is gone"));
  process.stdin.resume();
}
