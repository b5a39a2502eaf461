/** The most that one message may be, whatever a tenant is given: what every step of a pod can do, and no more. Pure. */

/** A pod holds a message whole while it takes it in and again while it sends it. */
export const maxMessageBytes = 67_108_864;

/** What a tenant may send that says nothing of it. */
export const defaultMessageBytes = 26_214_400;

/** What an SMTP session takes; RFC 5321 4.5.3.1.8 asks for 100. */
export const maxRecipients = 1_000;
