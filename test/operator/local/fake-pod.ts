/** Stands in for a pod: takes its options, shares the ports, says ready, leaves at SIGTERM or with its parent. */
import { createServer } from "node:net";
import { parseArgs } from "node:util";

const text = { type: "string" } as const;
const flag = { type: "boolean" } as const;
const listeners = ["smtp", "submission", "submissions", "http", "admin"];
const { values } = parseArgs({
  strict: false,
  options: {
    bind: text,
    "admin-bind": text,
    name: text,
    config: text,
    ...Object.fromEntries([...listeners, "metrics"].map((name) => [`${name}-port`, text])),
    "exit-with-parent": flag,
  },
});

if (process.env["FAKE_POD_FAILS"] !== undefined) {
  process.stderr.write('{"level":50,"msg":"no"}\n');
  process.exit(3);
}
for (const name of listeners) {
  const host = String(values[name === "admin" ? "admin-bind" : "bind"]);
  const server = createServer((socket) => socket.end(`220 ${String(values["name"])}\r\n`));
  await new Promise<void>((ready) => {
    server.listen({ host, port: Number(values[`${name}-port`]), reusePort: true }, ready);
  });
}
process.on("SIGTERM", () => process.exit(0));
process.stdin.on("end", () => process.exit(0)).resume();
process.stdout.write(
  `${JSON.stringify({ ready: true, incarnation: String(process.pid), metrics: Number(values["metrics-port"]) })}\n`,
);
