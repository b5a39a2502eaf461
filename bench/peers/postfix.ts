/** Postfix of Debian as a contender: its own master and daemons. Throws Error when it cannot be had or does not start. */
import { chmod, chown, cp, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { freePorts } from "#operator/local/ports.ts";
import type { Contender } from "../contender.ts";
import { accounts, debianProgram, prepareEtc } from "./debian.ts";
import { startPeer, writeConfiguration } from "./peer.ts";
import { findDebianPrograms } from "./programs.ts";

/** What `postfix check` would make; those of `postfix` are written by its daemons. */
const queueFolders = ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"];
const socketFolders = ["private", "public", "maildrop", "saved", "trace"];

export const postfix: Contender = {
  name: "postfix",
  async start({ scenario, durability, keys, sinkPort, folder }) {
    const [port = 0] = await freePorts(1);
    const etc = await prepareEtc(folder);
    const configuration = join(etc, "postfix");
    await cp(join(await findDebianPrograms(), "etc/postfix"), configuration, { recursive: true });
    const state = join(folder, "state");
    await makeFolders(state);
    await chmod(join(folder, ".."), 0o755);
    const { server } = keys;
    const words = {
      DIR: state,
      PORT: port,
      SINK: sinkPort,
      CONNECTIONS: scenario.nextHopConnections,
      PROCESSES: Math.max(100, scenario.connections),
      ENVIRONMENT: durability === "os" ? "LD_PRELOAD" : "",
      OUT_TLS: server === undefined ? "none" : "encrypt",
      IN_TLS: server === undefined ? "none" : "may",
      CERTIFICATE: server?.cert ?? "",
      KEY: server?.key ?? "",
    };
    for (const name of ["main.cf", "master.cf"])
      await writeConfiguration(`postfix/${name}`, join(configuration, name), words);
    const command = ["/usr/lib/postfix/sbin/master", "-d", "-c", "/etc/postfix"];
    const program = await debianProgram(command, { folder, durability });
    // Its daemons are told these by `postfix start`.
    const env = { ...program.env, MAIL_CONFIG: "/etc/postfix" };
    return startPeer({ name: "postfix", ...program, env, port });
  },
};

async function makeFolders(state: string): Promise<void> {
  const spool = join(state, "spool");
  const { postfix: owner, postdrop } = accounts;
  await mkdir(join(spool, "pid"), { recursive: true });
  await mkdir(join(state, "data"));
  await chown(join(state, "data"), owner.id, owner.id);
  for (const name of [...queueFolders, ...socketFolders]) {
    const folder = join(spool, name);
    await mkdir(folder, { mode: 0o700 });
    await chown(folder, owner.id, name === "public" || name === "maildrop" ? postdrop.id : 0);
  }
  await chmod(join(spool, "public"), 0o710);
  await chmod(join(spool, "maildrop"), 0o730);
}
