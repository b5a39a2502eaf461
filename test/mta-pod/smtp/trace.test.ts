import assert from "node:assert/strict";
import { test } from "node:test";
import { headerFields } from "#mta-pod/smtp/header.ts";
import { rewritten } from "#mta-pod/smtp/trace.ts";

const added = "Received: by us\r\n";
const dropped = ["x-ours"];

for (const [name, text, expected] of [
  ["puts lines on top", "From: a\r\n\r\nhello\r\n", "From: a\r\n\r\nhello\r\n"],
  ["drops a field", "X-Ours: 1\r\nFrom: a\r\n\r\nx-ours: stays\r\n", "From: a\r\n\r\nx-ours: stays\r\n"],
  [
    "drops each of them, folded ones whole",
    "A: 1\r\nx-ours: 2\r\n 3\r\nB: 4\r\nX-OURS: 5\r\n\r\n",
    "A: 1\r\nB: 4\r\n\r\n",
  ],
  ["ends a header that nothing follows", "From: a\r\nX-Ours: 1\r\n", "From: a\r\n\r\n"],
  ["ends one of ours alone", "", "\r\n"],
] as const)
  for (const room of [0, added.length - 1, added.length, 1024])
    test(`rewritten() ${name}, with room for ${room} bytes in front`, () => {
      const memory = Buffer.alloc(8 + room + text.length, "#");
      memory.write(text, 8 + room, "latin1");
      const body = memory.subarray(8 + room);
      const fields = headerFields(body, 1024);
      assert.equal(rewritten({ body, room }, { added, fields, dropped }).toString(), added + expected);
      // What is in front of the room is somebody else's.
      assert.equal(memory.toString("latin1", 0, 8), "########");
    });
