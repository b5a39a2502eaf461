/** From the greeting to a session that is ready: what to write on which reply. Pure; a refusal is a step, not a throw. */
import { describeReply } from "../smtp/reply.ts";
import type { Fault, FaultKind, Stage } from "../smtp/transaction.ts";
import { type Extensions, noExtensions, parseExtensions } from "./extensions.ts";
import { cleanReply } from "./reply-parser.ts";

/** Why this target will not do; whoever knows the target makes the fault of it. */
export type Trouble = Pick<Fault, "kind" | "text" | "reply">;

export type HandshakeStep =
  | { readonly kind: "command"; readonly text: string }
  /** Start TLS now; when it stands, call `secured`. */
  | { readonly kind: "upgrade" }
  | { readonly kind: "ready"; readonly extensions: Extensions }
  /** This peer will not do. */
  | { readonly kind: "refused"; readonly trouble: Trouble };

export interface HandshakeOptions {
  readonly ehlo: string;
  readonly tls: "Opportunistic" | "Required" | "None";
}

type Expected = "greeting" | "ehlo" | "helo" | "starttls" | "handshake" | "ehlo-in-tls";

const stages: Readonly<Record<Expected, Stage>> = {
  greeting: "greeting",
  ehlo: "ehlo",
  helo: "ehlo",
  starttls: "tls",
  handshake: "tls",
  // A TLS 1.3 peer that refuses says so only after our side is done: until EHLO is answered it is still TLS's trouble.
  "ehlo-in-tls": "tls",
};

export class Handshake {
  readonly #options: HandshakeOptions;
  #expected: Expected = "greeting";
  #extensions = noExtensions;

  constructor(options: HandshakeOptions) {
    this.#options = options;
  }

  get stage(): Stage {
    return stages[this.#expected];
  }

  /** @param text as the parser gives it: lines joined by LF, not cleaned */
  reply(code: number, text: string): HandshakeStep {
    // 421 ends the session whatever it answers; 3xx has no meaning before DATA.
    if (code === 421) return refused(code, text);
    if (code >= 300 && code < 400) return refused(code, text, "protocol");
    switch (this.#expected) {
      case "greeting":
        if (code !== 220) return refused(code, text);
        this.#expected = "ehlo";
        return { kind: "command", text: `EHLO ${this.#options.ehlo}\r\n` };
      case "ehlo":
      case "ehlo-in-tls":
        return this.#greeted(code, text);
      case "helo":
        return code < 300 ? this.#settled() : refused(code, text);
      case "starttls":
        if (code === 220) {
          this.#expected = "handshake";
          return { kind: "upgrade" };
        }
        return this.#options.tls === "Required" ? refused(code, text) : this.#ready();
      case "handshake": {
        const reply = cleanReply(code, text);
        const what = "a reply in clear during the TLS handshake";
        return { kind: "refused", trouble: { kind: "protocol", text: what, reply } };
      }
      default:
        return this.#expected satisfies never;
    }
  }

  /** TLS stands: everything known of the peer is forgotten (RFC 3207 §4.2). */
  secured(): HandshakeStep {
    this.#extensions = noExtensions;
    this.#expected = "ehlo-in-tls";
    return { kind: "command", text: `EHLO ${this.#options.ehlo}\r\n` };
  }

  #greeted(code: number, text: string): HandshakeStep {
    if (code < 300) {
      this.#extensions = parseExtensions(text);
      return this.#expected === "ehlo" ? this.#settled() : this.#ready();
    }
    // RFC 5321 §3.2: a peer that does not know EHLO may know HELO. In TLS it has shown that it does.
    if (code >= 500 && this.#expected === "ehlo") {
      this.#expected = "helo";
      return { kind: "command", text: `HELO ${this.#options.ehlo}\r\n` };
    }
    return refused(code, text);
  }

  /** Greeted in clear. */
  #settled(): HandshakeStep {
    if (this.#options.tls === "None") return this.#ready();
    if (this.#extensions.startTls) {
      this.#expected = "starttls";
      return { kind: "command", text: "STARTTLS\r\n" };
    }
    if (this.#options.tls === "Opportunistic") return this.#ready();
    const text = "TLS is required and the peer does not offer STARTTLS";
    return { kind: "refused", trouble: { kind: "tls", text } };
  }

  #ready(): HandshakeStep {
    return { kind: "ready", extensions: this.#extensions };
  }
}

/** In the peer's own words; where they do not say that it refuses, that they are not the right ones. */
function refused(code: number, text: string, kind: FaultKind = "refused"): HandshakeStep {
  const reply = cleanReply(code, text);
  const said = describeReply(reply);
  return { kind: "refused", trouble: { kind, text: code < 400 ? `unexpected reply ${said}` : said, reply } };
}
