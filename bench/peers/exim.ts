/** Exim of Debian as a contender: one daemon, each mail delivered as it comes. Throws Error when it cannot be had or does not start. */
import { chmod, chown, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { freePorts } from "#operator/local/ports.ts";
import type { Contender } from "../contender.ts";
import { accounts, debianProgram, prepareEtc } from "./debian.ts";
import { startPeer, writeConfiguration } from "./peer.ts";

export const exim: Contender = {
  name: "exim",
  async start({ scenario, durability, keys, sinkPort, folder }) {
    const [port = 0] = await freePorts(1);
    const etc = await prepareEtc(folder);
    await mkdir(join(etc, "exim4"));
    const state = join(folder, "state");
    await mkdir(join(state, "spool"), { recursive: true });
    const { id } = accounts.exim;
    for (const path of [state, join(state, "spool")]) await chown(path, id, id);
    // The folder of the run is for one user alone; Exim gives up root before it goes there.
    await chmod(join(folder, ".."), 0o755);
    const { server, dkim } = keys;
    const file = join(etc, "exim4/exim4.conf");
    await writeConfiguration("exim.conf", file, {
      DIR: state,
      PORT: port,
      SINK: sinkPort,
      MAIN_TLS:
        server === undefined
          ? "tls_advertise_hosts ="
          : `tls_advertise_hosts = *\ntls_certificate = ${server.cert}\ntls_privatekey = ${server.key}`,
      OUT_TLS: server === undefined ? "hosts_avoid_tls = *" : "hosts_require_tls = *",
      OUT_DKIM:
        dkim === undefined
          ? ""
          : `dkim_domain = ${dkim.domain}\n  dkim_selector = ${dkim.selector}\n  dkim_private_key = ${dkim.file}`,
      CONNECTIONS: scenario.nextHopConnections,
    });
    const program = await debianProgram(["/usr/sbin/exim4", "-bdf", "-q1m"], { folder, durability });
    return startPeer({ name: "exim", ...program, port });
  },
};
