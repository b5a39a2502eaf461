/* The generator's message: one text of the wanted size, stamped anew for each sending, and the envelope of an id. Pure but for memory. */
#ifndef BENCH_MESSAGE_H
#define BENCH_MESSAGE_H
#include "common.h"

struct message {
    char *bytes;
    size_t length;
    size_t id_at, time_at, message_id_at; /* where the digits of the stamp are */
    size_t sender_at;                     /* and those of the sender in From, when there are many */
};

enum { SENDER_DIGITS = 5 };

/* Whose message is sent: of many senders, the one that the connection is logged in as. */
struct turn {
    long id, sender;
};

struct envelope {
    const char *sender;
    char **domains;
    long domain_count, recipients;
    long senders; /* 0 = only `sender`; else that many, sender@tNNNNN.example */
    int with_data; /* "DATA" rides along */
};

static inline size_t header_text(char *bytes, size_t room, const char *from) {
    const char *at = strrchr(from, '@');
    const char *domain = at == NULL ? "tenant1.example" : at + 1;
    int length = snprintf(bytes, room,
                          STAMP_NAME "%0*d %0*d\r\nMessage-ID: <%0*d.%lx.%lx@%s>\r\nFrom: Sender <%s>\r\nTo: <recipient@sink.test>\r\n"
                          "Subject: Benchmark message\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n"
                          "Content-Type: text/plain; charset=utf-8\r\nX-Campaign: 4711\r\n"
                          "List-Unsubscribe: <https://%s/u/1>\r\n\r\n",
                          ID_DIGITS, 0, TIME_DIGITS, 0, ID_DIGITS, 0, (long)getpid(), (long)(now_seconds() * 1e6), domain, from, domain);
    if (length < 0 || (size_t)length >= room) fail("header");
    return (size_t)length;
}

/* Lines of 76 letters from a fixed sequence; `dots` percent of them start with a dot. */
static inline size_t body_text(char *bytes, size_t length, int dots) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    enum { LINE_LETTERS = 76 };
    unsigned random = 12345;
    size_t used = 0, column = 0;
    while (used + 2 < length) {
        if (column == LINE_LETTERS) {
            bytes[used++] = '\r';
            bytes[used++] = '\n';
            column = 0;
            continue;
        }
        random = random * 1103515245u + 12345u;
        int is_dot = column == 0 && (int)((random >> 8) % 100) < dots;
        bytes[used++] = is_dot ? '.' : letters[(random >> 16) & 63];
        column++;
    }
    bytes[used++] = '\r';
    bytes[used++] = '\n';
    return used;
}

/* Dots are doubled and the final dot is there, unless it is for BDAT. */
static inline struct message make_message(size_t size, const char *from, int dots, int for_bdat) {
    enum { HEADER_ROOM = 2048 };
    char *plain = checked(malloc(size + HEADER_ROOM));
    size_t length = header_text(plain, HEADER_ROOM, from);
    length += body_text(plain + length, size > length + 2 ? size - length : 2, dots);
    struct message message = {.id_at = STAMP_NAME_LENGTH, .time_at = STAMP_NAME_LENGTH + ID_DIGITS + 1};
    message.message_id_at = message.time_at + TIME_DIGITS + sizeof "\r\nMessage-ID: <" - 1;
    char *sender = memmem(plain, length, "<sender@t", sizeof "<sender@t" - 1);
    message.sender_at = sender == NULL ? 0 : (size_t)(sender - plain) + sizeof "<sender@t" - 1;
    if (for_bdat) {
        message.bytes = plain;
        message.length = length;
        return message;
    }
    message.bytes = checked(malloc(length * 2 + 3));
    for (size_t i = 0; i < length; i++) {
        if (plain[i] == '.' && i > 0 && plain[i - 1] == '\n') message.bytes[message.length++] = '.';
        message.bytes[message.length++] = plain[i];
    }
    memcpy(message.bytes + message.length, ".\r\n", 3);
    message.length += 3;
    free(plain);
    return message;
}

static inline void write_digits(char *place, int digits, uint64_t value) {
    for (int i = digits - 1; i >= 0; i--, value /= 10) place[i] = (char)('0' + value % 10);
}

static inline void stamp(struct message *message, long id, double now) {
    write_digits(message->bytes + message->id_at, ID_DIGITS, (uint64_t)id);
    write_digits(message->bytes + message->message_id_at, ID_DIGITS, (uint64_t)id);
    write_digits(message->bytes + message->time_at, TIME_DIGITS, (uint64_t)(now * 1e9));
}

static inline int mail_command(char *line, size_t room, const struct envelope *envelope, long sender) {
    if (envelope->senders == 0) return snprintf(line, room, "MAIL FROM:<%s>\r\n", envelope->sender);
    return snprintf(line, room, "MAIL FROM:<sender@t%0*ld.example>\r\n", SENDER_DIGITS, sender);
}

/* Commands of the envelope: number 0 is MAIL, then the recipients, then DATA. Recipients go round the domains. */
static inline void append_command(struct buffer *buffer, const struct envelope *envelope, struct turn turn, long number) {
    char line[1024];
    int length;
    if (number == 0) length = mail_command(line, sizeof line, envelope, turn.sender);
    else if (number <= envelope->recipients)
        length = snprintf(line, sizeof line, "RCPT TO:<user%ld@%s>\r\n", number,
                          envelope->domains[(turn.id + number) % envelope->domain_count]);
    else length = snprintf(line, sizeof line, "DATA\r\n");
    if (length < 0 || (size_t)length >= sizeof line) fail("command");
    buffer_append(buffer, line, (size_t)length);
}

static inline void append_envelope(struct buffer *buffer, const struct envelope *envelope, struct turn turn) {
    long last = envelope->recipients + (envelope->with_data ? 1 : 0);
    for (long number = 0; number <= last; number++) append_command(buffer, envelope, turn, number);
}

#endif
