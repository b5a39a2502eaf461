/** When a dispatch may send: before its MAIL, and before its final dot. */

/**
 * send: after `ms`. ask: again after `ms`, for its tenant or sender domain has its turn then. requeue: that is so much later that
 * the entry had better wait in its lane.
 */
export interface MailTurn {
  readonly then: "send" | "ask" | "requeue";
  readonly ms: number;
}

export interface MailTurns {
  /** How a dispatch has to wait before its MAIL: rates hold at the peer, and connecting took its time. "send" books the moment, once. */
  holdBeforeMail(handle: number, now: number): MailTurn;
  /** Ms that its final dot has to wait, then to be asked again; 0 = it is written now, and rates count it so. */
  finalDotMs(handle: number, now: number): number;
}
