/**
 * The yardstick: the same path from the packages as they come, with no features: smtp-server, js.publish, consume, a
 * nodemailer connection kept open, ack. Logs what fails; JetStream delivers that again after a minute.
 */
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
import SMTPConnection from "nodemailer/lib/smtp-connection";
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from "smtp-server";

const ackWaitNs = 60e9;
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

  const connections = new ConnectionPool(Number(values.sink), Number(values.connections));
  const consumer = await js.consumers.get("QUEUE", "DELIVERY");
  await consumer.consume({
    max_messages: 500,
    callback: (message) => {
      deliver(message, connections).catch((error: unknown) => console.error("not delivered", String(error)));
    },
  });

  const server = new SMTPServer({
    name: "out.bench.test",
    disabledCommands: ["AUTH", "STARTTLS"],
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

async function deliver(message: JsMsg, connections: ConnectionPool): Promise<void> {
  const stored = Buffer.from(message.data.buffer, message.data.byteOffset, message.data.length);
  const bodyAt = 4 + stored.readUInt32LE(0);
  // Our own bytes, written by `collect`.
  const envelope = JSON.parse(stored.toString("utf8", 4, bodyAt)) as Envelope;
  const body = stored.subarray(bodyAt);
  await connections.use(
    (connection) =>
      new Promise<void>((resolve, reject) => {
        const { from, to } = envelope;
        connection.send({ from, to: [...to], size: body.length }, body, (error) =>
          error === null ? resolve() : reject(error),
        );
      }),
  );
  message.ack();
}

/** Connections to the next hop that stay open; a caller waits while all are in use. */
class ConnectionPool {
  readonly #port: number;
  readonly #limit: number;
  readonly #free: SMTPConnection[] = [];
  readonly #waiting: ((connection: SMTPConnection) => void)[] = [];
  #open = 0;

  constructor(port: number, limit: number) {
    this.#port = port;
    this.#limit = limit;
  }

  async use(task: (connection: SMTPConnection) => Promise<void>): Promise<void> {
    const connection = await this.#take();
    try {
      await task(connection);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free.push(connection);
      else next(connection);
    }
  }

  #take(): Promise<SMTPConnection> {
    const free = this.#free.pop();
    if (free !== undefined) return Promise.resolve(free);
    return new Promise((resolve, reject) => {
      if (this.#open >= this.#limit) {
        this.#waiting.push(resolve);
        return;
      }
      this.#open++;
      const connection = new SMTPConnection({
        host: "127.0.0.1",
        port: this.#port,
        name: "out.bench.test",
        ignoreTLS: true,
        logger: false,
      });
      connection.on("error", reject);
      connection.connect((error) =>
        error === undefined || error === null ? resolve(connection) : reject(error),
      );
    });
  }
}

await main();
