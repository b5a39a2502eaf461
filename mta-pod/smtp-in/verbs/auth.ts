/** AUTH PLAIN and LOGIN (RFC 4954): reads credentials and asks the hook. Failures are replies; no secret is logged. */
import { reply } from "#mta-pod/smtp/reply.ts";
import { credentialText, decodeBase64, parsePlain } from "#mta-pod/smtp/sasl.ts";
import { bounds } from "../options.ts";
import type { AuthStep, SessionState } from "../session-state.ts";

export function auth(state: SessionState, argument: string): void {
  const { context, facts } = state;
  if (!state.isExtended) return state.fault(503, "5.5.1", "EHLO first");
  if (state.authenticated) return state.fault(503, "5.5.1", "already authenticated");
  if (state.transaction !== null) return state.fault(503, "5.5.1", "not inside a transaction");
  if (!state.mayAuth()) {
    // RFC 4954 §6: a password that came in clear all the same is compromised; say so and count it.
    const hint = context.hasTls && facts.tls === "" ? "STARTTLS first" : "not offered here without TLS";
    return state.fault(538, "5.7.11", `encryption required: ${hint}`);
  }
  if (state.failedLogins >= bounds.failedLogins) return state.hangUp(421, "4.7.0", "too many failed logins");
  const [mechanism = "", initial, ...more] = argument.split(" ");
  if (more.length > 0 || mechanism === "")
    return state.fault(501, "5.5.4", "AUTH mechanism [initial response]");
  switch (mechanism.toUpperCase()) {
    case "PLAIN":
      return begin(state, { kind: "plain" }, initial);
    case "LOGIN":
      return begin(state, { kind: "login-username" }, initial);
    default:
      return state.fault(504, "5.5.4", "mechanism is PLAIN or LOGIN");
  }
}

function begin(state: SessionState, step: AuthStep, initial: string | undefined): void {
  if (initial === undefined) challenge(state, step);
  // "=" stands for an initial response of no bytes.
  else respond(state, step, initial === "=" ? "" : initial);
}

function challenge(state: SessionState, step: AuthStep): void {
  state.phase = "auth";
  state.authStep = step;
  const prompts = { plain: "", "login-username": "VXNlcm5hbWU6", "login-password": "UGFzc3dvcmQ6" };
  state.out += `334 ${prompts[step.kind]}\r\n`;
}

/** A line that answers a challenge. */
export function continueAuth(state: SessionState, line: string): void {
  state.phase = "command";
  if (line === "*") return state.fault(501, "5.7.0", "authentication cancelled");
  respond(state, state.authStep, line);
}

function respond(state: SessionState, step: AuthStep, line: string): void {
  const bytes = decodeBase64(line);
  if (bytes === undefined) return state.fault(501, "5.5.2", "not base64");
  switch (step.kind) {
    case "plain": {
      const credentials = parsePlain(bytes);
      if (credentials === undefined) return state.fault(501, "5.5.2", "malformed PLAIN response");
      return check(state, credentials.username, credentials.password);
    }
    case "login-username": {
      const username = credentialText(bytes);
      if (username === undefined) return state.fault(501, "5.5.2", "malformed user name");
      return challenge(state, { kind: "login-password", username });
    }
    case "login-password": {
      const password = credentialText(bytes);
      if (password === undefined) return state.fault(501, "5.5.2", "malformed password");
      return check(state, step.username, password);
    }
    default:
      return step satisfies never;
  }
}

function check(state: SessionState, username: string, password: string): void {
  const { hooks } = state.context.options;
  const epoch = ++state.epoch;
  const isCurrent = (): boolean => state.epoch === epoch && state.phase === "waiting";
  state.phase = "waiting";
  state.authStep = { kind: "plain" };
  // The hook may throw before it returns a promise; both ways it failed, not the client.
  void Promise.try(() => hooks.authenticate(state.facts, username, password)).then(
    (verdict) => {
      if (!isCurrent()) return;
      if (verdict.ok) {
        state.failedLogins = 0;
        state.logIn(verdict.login);
        state.say(reply(235, "2.7.0", "authenticated"));
      } else {
        if (verdict.reply.code >= 500) state.failedLogins++;
        state.say(verdict.reply);
      }
      state.proceed();
    },
    (error: unknown) => {
      state.context.log.error("authenticate hook failed", { session: state.peer.id, error: String(error) });
      if (!isCurrent()) return;
      state.say(reply(454, "4.7.0", "authentication not possible now"));
      state.proceed();
    },
  );
}
