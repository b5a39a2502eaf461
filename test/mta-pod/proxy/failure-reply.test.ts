import assert from "node:assert/strict";
import { test } from "node:test";
import { replyToFailure } from "#mta-pod/proxy/failure-reply.ts";
import { replies } from "#mta-pod/proxy/socks-session.ts";

const [v4, v6] = ["192.0.2.1", "2001:db8::1"];

test("replyToFailure() tells a host without IPv6 from an address to send from that is not ours", () => {
  for (const [code, way, reply] of [
    ["EADDRNOTAVAIL", { to: v6 }, replies.networkUnreachable],
    ["EINVAL", { to: v6 }, replies.networkUnreachable],
    ["EAFNOSUPPORT", { to: v6 }, replies.networkUnreachable],
    ["EAFNOSUPPORT", { to: v6, from: "2001:db8::2" }, replies.networkUnreachable],
    ["EADDRNOTAVAIL", { to: v6, from: "2001:db8::2" }, replies.failure],
    ["EADDRNOTAVAIL", { to: v4 }, replies.failure],
    ["EADDRNOTAVAIL", { to: v4, from: "192.0.2.2" }, replies.failure],
    ["EINVAL", { to: v4 }, replies.failure],
    ["ENETUNREACH", { to: v4 }, replies.networkUnreachable],
    ["ECONNREFUSED", { to: v6 }, replies.refused],
    ["EMFILE", { to: v6 }, replies.failure],
  ] as const)
    assert.equal(replyToFailure({ code }, way), reply, `${code} ${JSON.stringify(way)}`);
});
