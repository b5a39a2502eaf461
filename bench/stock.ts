/** The stock packages as a contender: processes of stock-path.ts that share a port, beside the same nats-server. Throws Error when one does not get ready. */
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { findNatsServer } from "#operator/local/nats-binary.ts";
import { startNatsServer } from "#operator/local/nats-server.ts";
import { freePorts } from "#operator/local/ports.ts";
import { type Child, startChild } from "./child.ts";
import type { Contender, RunningPath } from "./contender.ts";

const program = fileURLToPath(new URL("stock-path.ts", import.meta.url));
const readyMs = 30_000;

export const stock: Contender = {
  name: "stock",
  async start({ scenario, durability, keys, sinkPort, pods, folder, env }): Promise<RunningPath> {
    const { path: binary } = await findNatsServer({ env: process.env });
    // The product's own server, with the configuration that local mode gives it: equal durability.
    const nats = await startNatsServer({
      binary,
      storeDir: join(folder, "nats"),
      host: "127.0.0.1",
      port: 0,
      sync: durability === "disk" ? "always" : "os",
    });
    const killNats = (): void => void process.kill(nats.pid, "SIGTERM");
    process.once("exit", killNats);
    const children: Child[] = [];
    const stop = async (): Promise<void> => {
      await Promise.all(children.map((child) => child.stop()));
      process.off("exit", killNats);
      await nats.stop();
    };
    try {
      const [port = 0] = await freePorts(1);
      const each = Math.max(1, Math.ceil(scenario.nextHopConnections / pods));
      const { server, dkim } = keys;
      const args = [
        ["--port", port, "--sink", sinkPort, "--nats", nats.url, "--connections", each],
        server === undefined ? [] : ["--certificate", server.cert, "--key", server.key],
        dkim === undefined ? [] : ["--dkim", dkim.file, "--domain", dkim.domain, "--selector", dkim.selector],
      ]
        .flat()
        .map(String);
      for (let pod = 0; pod < pods; pod++)
        children.push(startChild(process.execPath, [program, ...args], env === undefined ? {} : { env }));
      await Promise.all(children.map((child) => child.nextLine(readyMs)));
      return { smtpPort: port, podPids: children.map(({ pid }) => pid), natsPid: nats.pid, stop };
    } catch (error) {
      await stop();
      throw error;
    }
  },
};
