/** A small authoritative DNS server on loopback for tests: zones as data, faults on demand, counts what it is asked. */
import dnsPacket from "dns-packet";
import type { Answer, Question } from "dns-packet";
import { createSocket } from "node:dgram";
import type { RemoteInfo, Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";

export interface ZoneEntry {
  /** `[preference, host]`; `[0, "."]` is a null MX. */
  readonly MX?: readonly (readonly [preference: number, host: string])[];
  readonly A?: readonly string[];
  readonly AAAA?: readonly string[];
  readonly TXT?: readonly string[];
  readonly CNAME?: string;
  /** Seconds, default 300. */
  readonly ttl?: number;
  /** In place of an answer; "drop" = none at all. */
  readonly fault?: "servfail" | "refused" | "drop" | "truncate";
  /** The fault is for these types only. */
  readonly faultTypes?: readonly string[];
  readonly delayMs?: number;
}

/** By name, lower case and without a final dot; a name that is not here does not exist. */
export type Zones = Readonly<Record<string, ZoneEntry>>;

export interface DnsServer extends AsyncDisposable {
  /** `127.0.0.1:PORT`, for UDP and TCP. */
  readonly address: string;
  setZones(zones: Zones): void;
  /** Questions so far: all, or those for a name, or for a name and a type. */
  count(name?: string, type?: string): number;
  close(): Promise<void>;
}

const authoritative = dnsPacket.AUTHORITATIVE_ANSWER;
const truncated = dnsPacket.TRUNCATED_RESPONSE;
const rcodes = { noError: 0, servfail: 2, nxdomain: 3, refused: 5 } as const;
const plainUdpBytes = 512;

/** Throws when no port can be had for both UDP and TCP. */
export async function startDnsServer(zones: Zones, { port = 0 }: { port?: number } = {}): Promise<DnsServer> {
  const { tcp, udp, bound } = await bindBoth(port);
  const state = { zones, asked: new Map<string, number>() };
  const timers = new Set<NodeJS.Timeout>();
  const sockets = new Set<Socket>();
  const later = (delayMs: number, send: () => void) => {
    if (delayMs <= 0) return send();
    const timer = setTimeout(() => {
      timers.delete(timer);
      send();
    }, delayMs);
    timers.add(timer);
    return undefined;
  };
  udp.on("message", (message: Buffer, from: RemoteInfo) => {
    const given = respond(state, message, "udp");
    if (given !== undefined) later(given.delayMs, () => udp.send(given.packet, from.port, from.address));
  });
  tcp.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
    let buffered = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      buffered = Buffer.concat([buffered, chunk]);
      while (buffered.length >= 2 && buffered.length >= 2 + buffered.readUInt16BE(0)) {
        const end = 2 + buffered.readUInt16BE(0);
        const given = respond(state, buffered.subarray(2, end), "tcp");
        buffered = buffered.subarray(end);
        if (given !== undefined) later(given.delayMs, () => socket.write(framed(given.packet)));
      }
    });
  });
  const close = async () => {
    for (const timer of timers) clearTimeout(timer);
    for (const socket of sockets) socket.destroy();
    if (!tcp.listening) return;
    const closed = [once(tcp, "close"), once(udp, "close")];
    tcp.close();
    udp.close();
    await Promise.all(closed);
  };
  return {
    address: `127.0.0.1:${bound}`,
    setZones(next) {
      state.zones = next;
    },
    count: (name, type) => countOf(state.asked, name, type),
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function bindBoth(port: number): Promise<{ tcp: Server; udp: UdpSocket; bound: number }> {
  // The port that TCP got may be taken for UDP: another one is as good unless it was asked for.
  for (let tries = 0; ; tries++) {
    const tcp = createServer().listen(port, "127.0.0.1");
    await once(tcp, "listening");
    const bound = (tcp.address() as AddressInfo).port;
    const udp = createSocket("udp4");
    try {
      udp.bind(bound, "127.0.0.1");
      await once(udp, "listening");
      return { tcp, udp, bound };
    } catch (error) {
      udp.close();
      tcp.close();
      if (port !== 0 || tries >= 10) throw error;
    }
  }
}

function countOf(asked: ReadonlyMap<string, number>, name?: string, type?: string): number {
  let count = 0;
  for (const [key, times] of asked) {
    const [askedName, askedType] = key.split(" ");
    if ((name === undefined || name === askedName) && (type === undefined || type === askedType))
      count += times;
  }
  return count;
}

function framed(packet: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(packet.length);
  return Buffer.concat([length, packet]);
}

interface State {
  zones: Zones;
  readonly asked: Map<string, number>;
}

/** What to send back and when; undefined = nothing, ever. */
function respond(
  state: State,
  message: Buffer,
  via: "udp" | "tcp",
): { packet: Buffer; delayMs: number } | undefined {
  const query = decodeQuery(message);
  const [question] = query?.questions ?? [];
  if (query === undefined || question === undefined) return undefined;
  const name = question.name.toLowerCase();
  const key = `${name} ${question.type}`;
  state.asked.set(key, (state.asked.get(key) ?? 0) + 1);
  const zone = state.zones[name];
  const isFaulty = zone?.faultTypes?.includes(question.type) ?? true;
  const fault = isFaulty ? zone?.fault : undefined;
  if (fault === "drop") return undefined;
  const delayMs = zone?.delayMs ?? 0;
  const encode = (rcode: number, answers: Answer[], flags = 0) =>
    dnsPacket.encode({
      type: "response",
      id: query.id ?? 0,
      flags: authoritative | flags | rcode | ((query.flags ?? 0) & dnsPacket.RECURSION_DESIRED),
      questions: [question],
      answers,
    });
  if (fault === "servfail" || fault === "refused") return { packet: encode(rcodes[fault], []), delayMs };
  if (zone === undefined) return { packet: encode(rcodes.nxdomain, []), delayMs };
  const packet = encode(rcodes.noError, answersTo(state.zones, question));
  const isCut = via === "udp" && (fault === "truncate" || packet.length > plainUdpBytes);
  return { packet: isCut ? encode(rcodes.noError, [], truncated) : packet, delayMs };
}

function decodeQuery(message: Buffer) {
  try {
    return dnsPacket.decode(message);
  } catch {
    return undefined;
  }
}

const maxCnames = 8;

function answersTo(zones: Zones, question: Question): Answer[] {
  const answers: Answer[] = [];
  let name = question.name;
  for (let hops = 0; hops < maxCnames; hops++) {
    const zone = zones[name.toLowerCase()];
    if (zone?.CNAME === undefined) {
      if (zone !== undefined) answers.push(...recordsOf(zone, name, question.type));
      break;
    }
    answers.push({ type: "CNAME", name, ttl: zone.ttl ?? 300, data: zone.CNAME });
    name = zone.CNAME;
  }
  return answers;
}

function recordsOf(zone: ZoneEntry, name: string, type: string): Answer[] {
  const ttl = zone.ttl ?? 300;
  switch (type) {
    case "MX":
      return (zone.MX ?? []).map(([preference, exchange]) => ({
        type: "MX",
        name,
        ttl,
        data: { preference, exchange },
      }));
    case "A":
    case "AAAA":
      return (zone[type] ?? []).map((data) => ({ type, name, ttl, data }));
    case "TXT":
      return (zone.TXT ?? []).map((data) => ({ type: "TXT", name, ttl, data }));
    default:
      return [];
  }
}
