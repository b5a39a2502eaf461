/** Installs what a node needs from Debian, where root and apt are there. Throws an Error with apt's words. */
import { output } from "./processes.ts";
import { missingPrograms, nodePrograms } from "./tier.ts";

const installMs = 300_000;

export async function installPackages(env: NodeJS.ProcessEnv, say: (line: string) => void): Promise<void> {
  const missing = await missingPrograms(env);
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((name) => nodePrograms[name] ?? name))];
  say(`installing ${packages.join(", ")} with apt`);
  const quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"] as const;
  await output([...quiet, "update"], { timeoutMs: installMs });
  await output([...quiet, "install", "--no-install-recommends", "--yes", ...packages], {
    timeoutMs: installMs,
  });
}
