/** Haraka from npm as a contender, with as many workers as there are pods. Throws Error when it cannot be had or does not start. */
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePorts } from "#operator/local/ports.ts";
import type { Contender } from "../contender.ts";
import { durabilityEnv } from "./debian.ts";
import { startPeer } from "./peer.ts";
import { findHaraka } from "./programs.ts";

const configuration = fileURLToPath(new URL("haraka/", import.meta.url));

export const haraka: Contender = {
  name: "haraka",
  async start({ scenario, durability, keys: { server, dkim }, sinkPort, pods, folder }) {
    const [port = 0] = await freePorts(1);
    const home = join(folder, "haraka");
    await cp(configuration, home, { recursive: true });
    await mkdir(join(home, "queue"));
    const program = join(await findHaraka(), "node_modules/Haraka");
    // Its own, as it comes: without one in this folder every connection fails.
    await cp(join(program, "config/connection.ini"), join(home, "config/connection.ini"));
    const write = (name: string, lines: readonly string[]): Promise<void> =>
      writeFile(join(home, "config", name), `${lines.join("\n")}\n`);
    await write("smtp.ini", [`listen=127.0.0.1:${port}`, `nodes=${pods}`]);
    const perWorker = Math.max(1, Math.ceil(scenario.nextHopConnections / pods));
    await write("outbound.ini", [
      `enable_tls=${server !== undefined}`,
      `concurrency_max=${perWorker}`,
      "local_mx_ok=true",
      "received_header=disabled",
    ]);
    await write("plugins", [
      ...(server === undefined ? [] : ["tls"]),
      "bench_relay",
      ...(dkim === undefined ? [] : ["dkim"]),
    ]);
    if (server !== undefined) {
      await write("tls.ini", [`key=${server.key}`, `cert=${server.cert}`]);
    }
    if (dkim !== undefined) {
      const keyFolder = join(home, "config/dkim", dkim.domain);
      await mkdir(keyFolder, { recursive: true });
      await writeFile(join(keyFolder, "private"), dkim.pem);
      await writeFile(join(keyFolder, "selector"), dkim.selector);
      await write("dkim.ini", ["[sign]", "enabled=true"]);
    }
    return startPeer({
      name: "haraka",
      command: [process.execPath, join(program, "bin/haraka"), "-c", home],
      env: { ...(await durabilityEnv(durability)), BENCH_SINK: String(sinkPort) },
      port,
    });
  },
};
