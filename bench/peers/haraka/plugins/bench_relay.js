// Relays everything to the sink, whose port is in BENCH_SINK.
exports.hook_connect = (next, connection) => {
  connection.relaying = true;
  next();
};
exports.hook_lookup_rdns = (next) => next(OK, "localhost");
exports.hook_rcpt = (next) => next(OK);
exports.hook_get_mx = (next) =>
  next(OK, { priority: 0, exchange: "127.0.0.1", port: Number(process.env.BENCH_SINK), bind_helo: "relay.test" });
