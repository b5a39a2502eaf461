import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { dkimVerify } from "mailauth/lib/dkim/verify.js";
import { relaxedBodyHash, relaxedBodyHashNow } from "#mta-pod/smtp-out/canonical-body.ts";
import { signedFields } from "#mta-pod/smtp-out/canonical-header.ts";
import { importKey, type SigningKey, sign } from "#mta-pod/smtp-out/dkim.ts";
import { squeezeInto, squeezeSlowly, windowBytes } from "#mta-pod/smtp-out/squeeze.ts";

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const ed = generateKeyPairSync("ed25519");

function der(pair: typeof rsa): string {
  return pair.privateKey.export({ format: "der", type: "pkcs8" }).toString("base64");
}

const rsaKey = importKey({ domain: "acme.example", selector: "r1", algorithm: "rsa", der: der(rsa) });
const edKey = importKey({ domain: "acme.example", selector: "e1", algorithm: "ed25519", der: der(ed) });
const records: Record<string, string> = {
  "r1._domainkey.acme.example": `v=DKIM1; k=rsa; p=${rsa.publicKey.export({ format: "der", type: "spki" }).toString("base64")}`,
  "e1._domainkey.acme.example": `v=DKIM1; k=ed25519; p=${ed.publicKey.export({ format: "der", type: "spki" }).subarray(-32).toString("base64")}`,
};
const now = 1_790_000_000;

async function verdicts(message: Buffer): Promise<string[]> {
  const { results } = await dkimVerify(message, {
    resolver: async (name: string, type: string) => {
      const record = records[name];
      if (type !== "TXT" || record === undefined) throw Object.assign(new Error(name), { code: "ENOTFOUND" });
      return [[record]];
    },
    curTime: new Date(now * 1000),
  });
  return results.map((found) =>
    `${found.selector ?? "-"} ${found.status.result} ${found.status.comment || ""}`.trim(),
  );
}

async function signed(message: Buffer, keys: readonly SigningKey[]): Promise<Buffer> {
  return Buffer.concat([await sign(message, keys, now), message]);
}

const header =
  "From: A <a@acme.example>\r\nTo: b@x.example\r\nSubject: hello\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n";
const messages: Record<string, Buffer> = {
  plain: Buffer.from(`${header}\r\nhello\r\n`),
  "empty body": Buffer.from(`${header}\r\n`),
  "only blank lines": Buffer.from(`${header}\r\n\r\n\r\n\r\n`),
  "lines of white space": Buffer.from(`${header}\r\n \t\r\n \r\n`),
  "trailing blank lines": Buffer.from(`${header}\r\nhello\r\n\r\n \t \r\n\r\n`),
  "white space": Buffer.from(`${header}\r\n\ta  b\t \tc \r\n  d\t\r\n`),
  "no final line end": Buffer.from(`${header}\r\nhello`),
  "no final line end after a space": Buffer.from(`${header}\r\nhello  `),
  "folded headers": Buffer.from(
    "From:\r\n A\r\n\t<a@acme.example>\r\nSubject: one\r\n  two\t three  \r\nTO : b@x.example,\r\n\tc@x.example\r\nReferences: <1@x>\r\n <2@x>\r\n\r\nhi\r\n",
  ),
  "several of one field": Buffer.from(
    `List-Unsubscribe: <https://x.example/1>\r\nCc: c@x.example\r\nCc: d@x.example\r\n${header}\r\nhi\r\n`,
  ),
  "eight bit": Buffer.from(
    `${header}Reply-To: "é" <r@acme.example>\r\nCc: é café, été\r\n\r\nà la carte à\r\n`,
    "utf8",
  ),
  "long folded recipients": Buffer.from(
    `${header}Cc: ${Array.from({ length: 300 }, (_, index) => `user${index}@x.example`).join(",\r\n ")}\r\n\r\nhi\r\n`,
  ),
  "two megabytes": Buffer.from(`${header}\r\n${`some words  here \t and there \r\n`.repeat(70_000)}\r\n\r\n`),
  "one line of a megabyte": Buffer.from(`${header}\r\n${"x  y".repeat(300_000)}\r\n`),
  "a megabyte of spaces": Buffer.from(`${header}\r\na${" ".repeat(1_200_000)}b\r\n`),
};

for (const [name, message] of Object.entries(messages)) {
  test(`sign() makes signatures that mailauth verifies: ${name}`, async () => {
    const whole = await signed(message, [rsaKey, edKey]);
    assert.deepEqual(await verdicts(whole), ["r1 pass", "e1 pass"]);
  });
}

for (const [name, key] of [
  ["rsa", rsaKey],
  ["ed25519", edKey],
] as const)
  test(`sign() leaves the event loop to others while it signs: ${name}`, async () => {
    let isSigned = false;
    const signing = sign(Buffer.from(`${header}\r\nhello\r\n`), [key], now).finally(() => (isSigned = true));
    // Whatever runs on the loop's own thread is through once the microtasks are; another thread's answer needs a turn of the loop.
    for (let microtask = 0; microtask < 1000; microtask++) await Promise.resolve();
    assert.equal(isSigned, false);
    assert.match((await signing).toString(), /^DKIM-Signature:/);
  });

test("sign() writes lines of less than 80 characters, each ended by CRLF, one field per key in order", async () => {
  const fields = (
    await sign(messages["several of one field"] ?? Buffer.alloc(0), [edKey, rsaKey], now)
  ).toString();
  assert.match(
    fields,
    /^DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed\/relaxed; t=1790000000;\r\n d=acme.example; s=e1;/,
  );
  assert.equal(fields.match(/^DKIM-Signature:/gm)?.length, 2);
  assert.ok(fields.endsWith("\r\n"));
  for (const line of fields.split("\r\n")) assert.ok(line.length < 80, line);
});

test("sign() takes a message without a blank line for a header, one that begins with it for a body", async () => {
  const fields = await sign(Buffer.from(header.slice(0, -2)), [edKey], now);
  assert.deepEqual(fields, await sign(Buffer.from(`${header}\r\n`), [edKey], now));
  assert.match(
    (await sign(Buffer.from("\r\nFrom: x\r\n"), [edKey], now)).toString(),
    /h=from:reply-to:to:cc:subject:date;/,
  );
});

test("signedFields() leaves the last byte of a UTF-8 value alone, which trim() would take for white space", () => {
  const header = Buffer.from("From: caffè à \r\n", "utf8").toString("latin1");
  assert.equal(Buffer.from(signedFields(header).text, "latin1").toString("utf8"), "from:caffè à\r\n");
});

test("sign() with no keys gives no bytes", async () => {
  assert.equal((await sign(Buffer.from(header), [], now)).length, 0);
});

for (const [what, change] of [
  ["another From", (text: string) => `From: evil@acme.example\r\n${text}`],
  ["another Subject", (text: string) => `Subject: evil\r\n${text}`],
  ["a Reply-To where there was none", (text: string) => `Reply-To: evil@x.example\r\n${text}`],
  ["a changed body", (text: string) => text.replace("hello\r\n", "hallo\r\n")],
  ["an added line", (text: string) => `${text}more\r\n`],
] as const) {
  test(`a signature does not survive ${what}`, async () => {
    const message = (await signed(messages["plain"] ?? Buffer.alloc(0), [rsaKey])).toString();
    const changed = change(message);
    assert.notEqual(changed, message);
    const [verdict] = await verdicts(Buffer.from(changed));
    assert.doesNotMatch(verdict ?? "", /pass/);
  });
}

test("signedFields() names the bottom-most instance first and From once more than it occurs", () => {
  const { names, text } = signedFields(
    "From: a\r\nList-Post: 1\r\nX-Other: y\r\nList-Post:  2 \r\nReceived: z",
  );
  assert.equal(names, "from:from:reply-to:to:cc:subject:date:list-post:list-post");
  assert.equal(text, "from:a\r\nlist-post:2\r\nlist-post:1\r\n");
});

test("importKey() refuses a key of another algorithm, a short one, no key, and a name that would break the field", () => {
  const good = { domain: "acme.example", selector: "s1", algorithm: "rsa", der: der(rsa) } as const;
  const short = generateKeyPairSync("rsa", { modulusLength: 512 });
  assert.throws(() => importKey({ ...good, der: der(ed) }), /expected rsa, got ed25519/);
  assert.throws(() => importKey({ ...good, algorithm: "ed25519" }), /expected ed25519, got rsa/);
  assert.throws(() => importKey({ ...good, der: der(short) }), /at least 1024 bits, got 512/);
  assert.throws(() => importKey({ ...good, der: "AAAA" }));
  assert.throws(() => importKey({ ...good, selector: "s1;\r\n x" }), /expected a domain name/);
});

const crlfBody = fc
  .array(
    fc.constantFrom(
      " ",
      "\t",
      "\r\n",
      "x",
      "yz",
      "  ",
      "a line of words that is longer than a vector",
      "\0",
      "à",
    ),
    {
      maxLength: 200,
    },
  )
  .map((words) => Buffer.from(words.join(""), "utf8"));

test("squeezeInto() and squeezeSlowly() agree", () => {
  fc.assert(
    fc.property(crlfBody, (body) => {
      assert.deepEqual(Buffer.from(squeezeInto(body)), Buffer.from(squeezeSlowly(body)));
    }),
    { numRuns: 500 },
  );
});

test("squeezeInto() and squeezeSlowly() agree on bytes of every kind", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.deepEqual(Buffer.from(squeezeInto(bytes)), Buffer.from(squeezeSlowly(bytes)));
    }),
    { numRuns: 500 },
  );
});

/** RFC 6376 §3.4.4 line by line. */
function referenceHash(body: Buffer): string {
  const lines = body
    .toString("latin1")
    .split("\r\n")
    .map((line) => {
      const even = line.replaceAll(/[ \t]+/g, " ");
      return even.endsWith(" ") ? even.slice(0, -1) : even;
    });
  while (lines.at(-1) === "") lines.pop();
  let text = lines.join("\r\n");
  if (text !== "") text += "\r\n";
  return createHash("sha256").update(Buffer.from(text, "latin1")).digest("base64");
}

test("relaxedBodyHash() is the hash of the body as the RFC words it", () => {
  fc.assert(
    fc.property(crlfBody, (body) => {
      assert.equal(relaxedBodyHashNow(body), referenceHash(body));
    }),
    { numRuns: 500 },
  );
});

test("relaxedBodyHash() is the same whether the body fits one window or is cut into many", async () => {
  const noise = randomBytes(500_000).toString("base64");
  const bodies = [
    Buffer.from("word \t word\r\n".repeat(60_000)),
    Buffer.from(`${"\r\n".repeat(windowBytes)}end${"\r\n".repeat(windowBytes)}`),
    Buffer.from("\r\n".repeat(windowBytes)),
    Buffer.from(`${noise}  \t${noise}\r\n \r\n${noise}`),
    Buffer.from(`${"x".repeat(windowBytes - 1)}\r\ny \r\n${"z".repeat(windowBytes)}`),
    Buffer.from(`${"x".repeat(windowBytes - 1)} \r\ny \r\n`),
    Buffer.from(` ${" ".repeat(windowBytes * 2)}`),
  ];
  for (const body of bodies) {
    assert.equal(relaxedBodyHashNow(body), referenceHash(body));
    assert.equal(await relaxedBodyHash(body), referenceHash(body));
  }
});
