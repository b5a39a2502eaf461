/** Runs local mode with another program for its pods: `run-local.ts STATE FILES POD_MAIN [BIND]`. */
import { runLocal } from "#operator/local/local.ts";

const [state = "", files = "", podMain = "", bind = "127.0.0.1"] = process.argv.slice(2);
try {
  process.exitCode = await runLocal({
    state,
    podMain,
    files: [files],
    pods: undefined,
    nats: undefined,
    demo: false,
    json: false,
    resolvers: [],
    bind,
    ports: { smtp: 0, submission: 0, submissions: 0, http: 0, admin: 0, metrics: 0 },
    print: (line) => void process.stdout.write(`${line}\n`),
    complain: (line) => void process.stderr.write(`${line}\n`),
  });
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
