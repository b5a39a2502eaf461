/**
 * Conversations of test/golden/smtp/<case>.txt against a real listener. `C:` is sent with CRLF, `C+` likewise but in
 * one write with the next; `S:` lines must come exactly (`*` at the end = any rest); `X` = the server closes; `M n` = so
 * many messages were taken; `# option: value` lines set things up. `\r \n \0 \xNN \\` are escapes.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { ListenerOptions } from "#mta-pod/smtp-in/options.ts";
import { RawClient, recordingHooks, running, until } from "./kit.ts";

const folder = join(import.meta.dirname, "../../golden/smtp");

function unescape(text: string): Buffer {
  const latin = text.replace(
    /\\(?:x([0-9a-f]{2})|(.))/gi,
    (_all, hex: string | undefined, letter: string) => {
      if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
      return { r: "\r", n: "\n", "0": "\0", "\\": "\\" }[letter] ?? letter;
    },
  );
  return Buffer.from(latin, "latin1");
}

function optionsOf(lines: readonly string[]): Partial<ListenerOptions> {
  const settings = new Map(
    lines.flatMap((line) => {
      const found = /^# (\w+): (.*)$/.exec(line);
      return found === null ? [] : [[found[1], found[2]] as const];
    }),
  );
  return {
    hooks: recordingHooks(settings.get("trusted") === "no" ? { trusted: () => null } : {}),
    plaintextAuthFrom: settings.get("plaintextAuthFrom") === "nobody" ? "nobody" : "loopback",
    maxMessageBytes: () => Number(settings.get("maxMessageBytes") ?? 100_000),
  };
}

async function expectLine(client: RawClient, wanted: string, at: string): Promise<void> {
  await until(() => client.received.includes("\r\n") || client.isClosed);
  const end = client.received.indexOf("\r\n");
  const line = client.received.slice(0, end);
  client.received = client.received.slice(end + 2);
  if (wanted.endsWith("*")) assert.ok(line.startsWith(wanted.slice(0, -1)), `${at}: ${line}`);
  else assert.equal(line, wanted, at);
}

async function play(name: string): Promise<void> {
  const lines = readFileSync(join(folder, name), "utf8").split("\n");
  const options = optionsOf(lines);
  await using server = await running(options);
  await using client = await RawClient.open(server.listener.port);
  let pending: Buffer[] = [];
  for (const [index, line] of lines.entries()) {
    const at = `${name}:${index + 1}`;
    const rest = line.slice(3);
    const mark = line.slice(0, 3);
    if (mark === "C: " || mark === "C:" || mark === "C+ ") pending.push(unescape(`${rest}\\r\\n`));
    if (mark === "C= ") pending.push(unescape(rest));
    if (mark !== "C+ " && pending.length > 0) {
      client.send(Buffer.concat(pending));
      pending = [];
    }
    if (mark === "S: ") await expectLine(client, rest, at);
    if (line === "X") assert.equal(await client.untilClosed(), "", at);
    if (line.startsWith("M ")) assert.equal(server.hooks.messages.length, Number(line.slice(2)), at);
  }
  assert.equal(client.received, "", `${name}: all was expected`);
}

for (const name of readdirSync(folder).filter((file) => file.endsWith(".txt")))
  test(`conversation ${name} goes as written`, () => play(name));
