/** KumoMTA as a contender, from a program that the user names (--kumod). Throws Error when it does not start. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePorts } from "#operator/local/ports.ts";
import type { Contender } from "../contender.ts";
import { startPeer } from "./peer.ts";

const policy = fileURLToPath(new URL("kumomta.lua", import.meta.url));

export function kumomta(program: string): Contender {
  return {
    name: "kumomta",
    async start({ scenario, durability, keys: { server, dkim }, sinkPort, folder }) {
      const [port = 0, http = 0] = await freePorts(2);
      for (const name of ["data", "meta", "logs"]) await mkdir(join(folder, name));
      return startPeer({
        name: "kumomta",
        command: [program, "--policy", policy, "--user", "root"],
        env: {
          KB_DIR: folder,
          KB_PORT: String(port),
          KB_HTTP: String(http),
          KB_SINK: String(sinkPort),
          KB_CONNS: String(scenario.nextHopConnections),
          ...(durability === "disk" ? { KB_FORCESYNC: "1" } : {}),
          ...(dkim === undefined ? {} : { KB_DKIM: dkim.file, KB_DKIM_SELECTOR: dkim.selector }),
          ...(server === undefined ? {} : { KB_TLS_CERT: server.cert, KB_TLS_KEY: server.key }),
        },
        port,
      });
    },
  };
}
