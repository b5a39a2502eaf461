/** The front door as `mailboat send` uses it, whichever way leads there. Types only. */

export interface Mail {
  readonly from: string;
  readonly to: readonly string[];
  readonly subject: string;
  readonly text: string;
}

export interface Sent {
  /** Those that it was queued for; of a message that was refused as a whole, all. */
  readonly to: readonly string[];
  /** Of `queued as ID`; absent when it was refused. */
  readonly id?: string;
  readonly reply: string;
  /** Others, whom the server did not take. */
  readonly refused?: readonly { readonly to: string; readonly reply: string }[];
}

export interface Door {
  /** An address that the login may send from, when one is known. */
  readonly from: string | undefined;
  /** Never rejects: a refusal is an answer. */
  send(mail: Mail): Promise<Sent>;
  close(): void;
}
