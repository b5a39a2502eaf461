/**
 * The yardstick: the same path from the packages as they come, with no features: smtp-server, js.publish, consume, a
 * nodemailer connection kept open, ack. What fails is tried again after a second.
 */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import {
  AckPolicy,
  jetstream,
  jetstreamManager,
  type JsMsg,
  RetentionPolicy,
  StorageType,
} from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import DKIM from "nodemailer/lib/dkim";
import SMTPConnection from "nodemailer/lib/smtp-connection";
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from "smtp-server";

const ackWaitNs = 60e9;
const retryMs = 1000;
const maxMessageBytes = 52_428_800;

/** The envelope travels before the message: a length of 4 bytes, then JSON. */
interface Envelope {
  readonly from: string;
  readonly to: readonly string[];
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: "string", default: "2525" },
      sink: { type: "string", default: "2526" },
      nats: { type: "string", default: "nats://127.0.0.1:4222" },
      connections: { type: "string", default: "10" },
      certificate: { type: "string" },
      key: { type: "string" },
      dkim: { type: "string" },
      domain: { type: "string", default: "" },
      selector: { type: "string", default: "" },
    },
  });
  const nc = await connect({ servers: values.nats });
  const manager = await jetstreamManager(nc);
  await manager.streams.add({
    name: "QUEUE",
    subjects: ["queue.>"],
    storage: StorageType.File,
    retention: RetentionPolicy.Workqueue,
    num_replicas: 1,
  });
  await manager.consumers.add("QUEUE", {
    durable_name: "DELIVERY",
    ack_policy: AckPolicy.Explicit,
    max_ack_pending: 20_000,
    ack_wait: ackWaitNs,
  });
  const js = jetstream(nc, { timeout: 30_000 });

  const tls =
    values.certificate === undefined || values.key === undefined
      ? undefined
      : { cert: await readFile(values.certificate), key: await readFile(values.key) };
  const signer =
    values.dkim === undefined
      ? undefined
      : new DKIM({
          domainName: values.domain,
          keySelector: values.selector,
          privateKey: await readFile(values.dkim, "utf8"),
        });
  const connections = new ConnectionPool({
    port: Number(values.sink),
    limit: Number(values.connections),
    withTls: tls !== undefined,
  });
  const consumer = await js.consumers.get("QUEUE", "DELIVERY");
  await consumer.consume({
    max_messages: 500,
    callback: (message) => {
      deliver(message, connections, signer).catch(() => message.nak(retryMs));
    },
  });

  const server = new SMTPServer({
    name: "out.bench.test",
    disabledCommands: tls === undefined ? ["AUTH", "STARTTLS"] : ["AUTH"],
    ...tls,
    disableReverseLookup: true,
    logger: false,
    size: maxMessageBytes,
    maxClients: 10_000,
    onData(stream, session, answer) {
      collect(stream, session)
        .then((stored) => js.publish("queue.tenant1", stored))
        .then((ack) => answer(null, `queued as ${ack.seq}`))
        .catch((error: unknown) => answer(error instanceof Error ? error : new Error(String(error))));
    },
  });
  // Of single connections: the generator counts what is lost.
  server.on("error", () => {});
  server.listen({ port: Number(values.port), host: "127.0.0.1", reusePort: true }, () =>
    console.log("ready"),
  );
  process.once("SIGTERM", () => process.exit(0));
}

async function collect(stream: SMTPServerDataStream, session: SMTPServerSession): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part);
  const { mailFrom, rcptTo } = session.envelope;
  const envelope: Envelope = {
    from: mailFrom === false ? "" : mailFrom.address,
    to: rcptTo.map(({ address }) => address),
  };
  const encoded = Buffer.from(JSON.stringify(envelope));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(encoded.length);
  const trace = `Received: from ${session.hostNameAppearsAs} (${session.remoteAddress})\r\n\tby out.bench.test with ESMTP id ${session.id};\r\n\t${new Date().toUTCString()}\r\n`;
  return Buffer.concat([length, encoded, Buffer.from(trace), ...parts]);
}

async function deliver(message: JsMsg, connections: ConnectionPool, signer: DKIM | undefined): Promise<void> {
  const stored = Buffer.from(message.data.buffer, message.data.byteOffset, message.data.length);
  const bodyAt = 4 + stored.readUInt32LE(0);
  // Our own bytes, written by `collect`.
  const envelope = JSON.parse(stored.toString("utf8", 4, bodyAt)) as Envelope;
  const body = stored.subarray(bodyAt);
  await connections.use(
    (connection) =>
      new Promise<void>((resolve, reject) => {
        const { from, to } = envelope;
        const text = signer === undefined ? body : signer.sign(body);
        connection.send({ from, to: [...to], size: body.length }, text, (error) =>
          error === null ? resolve() : reject(error),
        );
      }),
  );
  message.ack();
}

/** Connections to the next hop that stay open until they fail; a caller waits while all are in use. */
class ConnectionPool {
  readonly #options: { readonly port: number; readonly limit: number; readonly withTls: boolean };
  readonly #free: SMTPConnection[] = [];
  readonly #waiting: (() => void)[] = [];
  readonly #failed = new WeakSet<SMTPConnection>();
  #inUse = 0;

  constructor(options: { readonly port: number; readonly limit: number; readonly withTls: boolean }) {
    this.#options = options;
  }

  async use(task: (connection: SMTPConnection) => Promise<void>): Promise<void> {
    if (this.#inUse >= this.#options.limit) await new Promise<void>((free) => this.#waiting.push(free));
    else this.#inUse++;
    try {
      const connection = this.#free.pop() ?? (await this.#connect());
      try {
        await task(connection);
      } finally {
        if (!this.#failed.has(connection)) this.#free.push(connection);
      }
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#inUse--;
      else next();
    }
  }

  #connect(): Promise<SMTPConnection> {
    const { port, withTls } = this.#options;
    const connection = new SMTPConnection({
      host: "127.0.0.1",
      port,
      name: "out.bench.test",
      ...(withTls ? { requireTLS: true, tls: { rejectUnauthorized: false } } : { ignoreTLS: true }),
      logger: false,
    });
    return new Promise((resolve, reject) => {
      connection.on("error", reject);
      connection.on("end", () => {
        this.#failed.add(connection);
        const place = this.#free.indexOf(connection);
        if (place >= 0) this.#free.splice(place, 1);
      });
      connection.connect((error) =>
        error === undefined || error === null ? resolve(connection) : reject(error),
      );
    });
  }
}

await main();
