import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Frame, FrameReader } from "#mta-pod/spool/frame-reader.ts";

interface Seen {
  readonly sid: number;
  readonly subject: string;
  readonly reply: string;
  readonly envelope: string;
  readonly data: string;
}

/** Feeds the bytes in pieces of the given lengths, in turns. */
function read(bytes: Buffer, lengths: readonly number[]): { seen: Seen[]; lines: string[] } {
  const seen: Seen[] = [];
  const lines: string[] = [];
  const reader = new FrameReader({
    message: (frame) => seen.push(seenIn(frame)),
    line: (line) => lines.push(line.toString("latin1")),
  });
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const length = Math.max(1, lengths[turn % lengths.length] ?? 1);
    reader.push(bytes.subarray(at, at + length));
    at += length;
  }
  return { seen, lines };
}

function seenIn(frame: Frame): Seen {
  const { sid, subject, reply, data } = frame;
  assert.equal(frame.size, data.length);
  return { sid, subject, reply, envelope: frame.header("Mb-Envelope"), data: data.toString("latin1") };
}

const stream = Buffer.from(
  [
    'INFO {"server_id":"x"}\r\n',
    "MSG a.b 7 5\r\nhello\r\n",
    "PING\r\n",
    "MSG a.b.12 10 re.ply 0\r\n\r\n",
    "HMSG q.x 3 ack.5 42 45\r\nNATS/1.0\r\nMb-Envelope: [1]\r\nOther: a:b\r\n\r\n\r\nx\r\n",
    "HMSG q.x 3 12 12\r\nNATS/1.0\r\n\r\n\r\n",
    "PONG\r\n",
  ].join(""),
  "latin1",
);
const expected = {
  seen: [
    { sid: 7, subject: "a.b", reply: "", envelope: "", data: "hello" },
    { sid: 10, subject: "a.b.12", reply: "re.ply", envelope: "", data: "" },
    { sid: 3, subject: "q.x", reply: "ack.5", envelope: "[1]", data: "\r\nx" },
    { sid: 3, subject: "q.x", reply: "", envelope: "", data: "" },
  ],
  lines: ['INFO {"server_id":"x"}\r\n', "PING\r\n", "PONG\r\n"],
};

test("FrameReader gives messages and lines, however the bytes are cut", () => {
  for (let length = 1; length <= stream.length; length++)
    assert.deepEqual(read(stream, [length]), expected, `in pieces of ${length}`);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 }), (lengths) => {
      assert.deepEqual(read(stream, lengths), expected);
    }),
  );
});

test("FrameReader takes messages larger than its buffer, and small ones behind them", () => {
  const large = Buffer.alloc(1_000_003, "x");
  const bytes = Buffer.concat([
    Buffer.from("MSG a 1 3\r\nabc\r\n"),
    Buffer.from(`MSG b 2 ${large.length}\r\n`),
    large,
    Buffer.from("\r\nMSG c 3 1\r\nd\r\n"),
  ]);
  const { seen } = read(bytes, [200_000]);
  assert.deepEqual(
    seen.map(({ sid, data }) => [sid, data.length]),
    [
      [1, 3],
      [2, large.length],
      [3, 1],
    ],
  );
});

test("FrameReader's parts() and toMsg() outlive the frame", () => {
  const kept: ReturnType<Frame["toMsg"]>[] = [];
  const reader = new FrameReader({
    message: (frame) => kept.push(frame.toMsg({ publish() {} })),
    line() {},
  });
  reader.push(stream);
  reader.push(Buffer.alloc(100_000, "+OK\r\n"));
  const [plain, empty, headed] = kept;
  assert.equal(plain?.string(), "hello");
  assert.equal(plain?.headers, undefined);
  assert.equal(empty?.reply, "re.ply");
  assert.equal(headed?.subject, "q.x");
  assert.equal(headed?.headers?.get("Other"), "a:b");
  assert.equal(headed?.string(), "\r\nx");
});

test("Frame's subjectNumber is the last token, NaN when it is no number", () => {
  const numbers: number[] = [];
  const reader = new FrameReader({ message: (frame) => numbers.push(frame.subjectNumber), line() {} });
  reader.push(
    Buffer.from("MSG _INBOX.x.120 1 0\r\n\r\nMSG 7 1 0\r\n\r\nMSG a.b1 1 0\r\n\r\nMSG a. 1 0\r\n\r\n"),
  );
  assert.deepEqual(numbers, [120, 7, Number.NaN, Number.NaN]);
});

for (const line of [
  "MSG a 1\r\n",
  "MSG a x 5\r\n",
  "MSG a 1 b c 5\r\n",
  "HMSG a 1 6 5\r\n",
  "MSG a 1 5\n",
  "HMSG a 1 5\r\n",
])
  test(`FrameReader throws on ${JSON.stringify(line)}`, () => {
    const reader = new FrameReader({ message() {}, line() {} });
    assert.throws(
      () => reader.push(Buffer.from(line)),
      /^Error: Cannot read from NATS: expected a message, got /,
    );
  });
