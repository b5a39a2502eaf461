/** The connections that are open: who they are, which meters count them, and when they end. Never fails. */
import type { Socket } from "node:net";
import type { Audit } from "./audit.ts";
import type { Meter } from "./meter.ts";
import { domainOf, type ProviderRule } from "./rules.ts";

export interface Client {
  readonly source: string;
  readonly port: number;
  /** What replies are written to: the raw socket, or the TLS one on top of it. */
  socket: Socket;
  /** Messages taken on this connection. */
  taken: number;
  /** Rules that this connection has used. */
  readonly rules: ReadonlySet<ProviderRule>;
  /** Rules whose throttle this transaction already passed. */
  readonly admitted: Set<ProviderRule>;
  /** Counts this connection for the recipient's domain, from its first recipient there on. */
  uses(recipient: string): void;
  /** Counts this connection for the rule; false when the rule's limit is reached already. */
  occupies(rule: ProviderRule): boolean;
}

export interface Clients {
  accept(socket: Socket, port: number): void;
  find(address: string, port: number): Client | undefined;
  /** The TLS socket that a client's session goes on with. */
  secured(socket: Socket, address: string, port: number): void;
  end(address: string, port: number): void;
  open(): number;
  destroyAll(): void;
}

export function createClients(audit: Audit): Clients {
  const clients = new Map<string, Client & { end(): void; raw: Socket }>();
  const occupied = new WeakMap<ProviderRule, number>();

  const occupy = (rule: ProviderRule): boolean => {
    const open = occupied.get(rule) ?? 0;
    if (open >= (rule.throttle?.connections ?? Number.POSITIVE_INFINITY)) return false;
    occupied.set(rule, open + 1);
    return true;
  };

  const accept = (socket: Socket, port: number): void => {
    const source = plainAddress(socket.remoteAddress ?? "");
    const key = keyOf(source, socket.remotePort ?? 0);
    const meters: Meter[] = [];
    const rules = new Set<ProviderRule>();
    const domains = new Set<string>();
    let ended = false;
    const count = (meter: Meter): void => {
      meter.connected();
      meters.push(meter);
    };
    const end = (): void => {
      if (ended) return;
      ended = true;
      for (const meter of meters) meter.disconnected();
      for (const rule of rules) occupied.set(rule, (occupied.get(rule) ?? 1) - 1);
      clients.delete(key);
    };
    // One turn later: a connection that a client closed before it opened this one has then been seen to end.
    setImmediate(() => {
      if (ended) return;
      for (const meter of [audit.total, audit.source(source), audit.port(port)]) count(meter);
    });
    socket.once("end", end).once("close", end);
    clients.set(key, {
      source,
      port,
      socket,
      raw: socket,
      taken: 0,
      rules,
      admitted: new Set(),
      uses(recipient) {
        const domain = domainOf(recipient);
        if (ended || domains.has(domain)) return;
        domains.add(domain);
        count(audit.domain(domain));
      },
      occupies(rule) {
        if (ended || rules.has(rule)) return true;
        const free = occupy(rule);
        if (free) rules.add(rule);
        return free;
      },
      end,
    });
  };

  return {
    accept,
    find: (address, port) => clients.get(keyOf(address, port)),
    secured(socket, address, port) {
      const client = clients.get(keyOf(address, port));
      if (client === undefined) return;
      client.socket = socket;
      // The upgrade took the listeners of the raw socket away.
      socket.once("end", client.end).once("close", client.end);
    },
    end: (address, port) => clients.get(keyOf(address, port))?.end(),
    open: () => clients.size,
    destroyAll() {
      for (const client of clients.values()) client.raw.destroy();
    },
  };
}

function keyOf(address: string, port: number): string {
  return `${address} ${port}`;
}

/** A dual-stack listener reports IPv4 peers as mapped IPv6; smtp-server's sessions do not. */
function plainAddress(address: string): string {
  return address.replace(/^::ffff:/i, "").toLowerCase();
}
