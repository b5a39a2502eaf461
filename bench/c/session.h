/* The generator's side of SMTP: what each connection says next, and which messages are left to send. Ends the program only on bugs. */
#ifndef BENCH_SESSION_H
#define BENCH_SESSION_H
#include "channel.h"
#include "common.h"
#include "message.h"

enum mode { LOCK, PIPE, PIPEX, BDAT };
enum state { CLOSED, GREETING, EHLO, STARTTLS, AUTH, IDLE, ENVELOPE, BODY, RESET, QUIT, OVER };

struct connection {
    struct channel channel;
    enum state state;
    struct buffer out;
    long id;      /* of the message whose replies are due */
    long next_id; /* pipex: its envelope was sent with the text of `id` */
    long step;    /* number of the command whose reply is due */
    long recipients_taken, messages;
    long sender; /* which of many senders it logs in as */
    int refusal; /* first digit of the first refusal of this envelope; 0 = none */
    int is_lost;
    double connect_at;
    char line[128]; /* the reply line's start */
    size_t line_length;
    int offers_pipelining, offers_chunking, offers_tls;
};

static const long NO_ID = -1;
static const double RETRY_SECONDS = 0.1;

static struct {
    const char *host, *user, *password, *times_file;
    int port, connections, resend, tls;
    long messages, first_id, per_connection;
    double rate, stall_seconds;
    enum mode mode;
} options = {.host = "127.0.0.1", .port = 2525, .connections = 10, .messages = 1000, .stall_seconds = 30, .mode = PIPE, .resend = 1};

static struct { long accepted, refused, resent, lost_connections, uncertain, refused_recipients, replies4, replies5; } counts;
static struct envelope envelope = {.sender = "sender@tenant1.example", .recipients = 1};
static struct message message;
static struct sockaddr_in server;
static double *sent_at, *accepted_at;
static int poll_fd, ready_connections;

static long fresh_ids; /* ids taken for the first time */
static struct { long *ids; double *due; long first, length, capacity; } again; /* ids to send again: a ring */
static struct { struct connection **at; long first, length; } idle;           /* a ring as large as all connections */
static double pacing_since, last_progress, max_lag;

static void send_again(long id, double due) {
    if (again.length == again.capacity) fail("more messages to send again than there are");
    long place = (again.first + again.length++) % again.capacity;
    again.ids[place] = id;
    again.due[place] = due;
    counts.resent++;
}

static int is_finished(void) { return counts.accepted + counts.refused >= options.messages; }

/* @return NO_ID when nothing is due */
static long take_id(double now) {
    if (again.length > 0 && again.due[again.first] <= now) {
        long id = again.ids[again.first];
        again.first = (again.first + 1) % again.capacity;
        again.length--;
        return id;
    }
    if (fresh_ids >= options.messages) return NO_ID;
    if (options.rate > 0) {
        if (pacing_since == 0) return NO_ID;
        double due = pacing_since + (double)fresh_ids / options.rate;
        if (due > now) return NO_ID;
        if (now - due > max_lag) max_lag = now - due;
    }
    return options.first_id + fresh_ids++;
}

static void watch_writable(struct connection *connection, int writable) {
    struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0u), .data.ptr = connection};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, connection->channel.fd, &event);
}

/* @return 1 when all is written */
static int write_waiting(struct connection *connection) {
    struct buffer *out = &connection->out;
    while (buffer_length(out) > 0) {
        ssize_t written = channel_write(&connection->channel, out->bytes + out->start, buffer_length(out));
        if (written <= 0) {
            if (errno != EAGAIN) connection->is_lost = 1;
            return 0;
        }
        buffer_consume(out, (size_t)written);
    }
    return 1;
}

/* Two parts leave in one write; what the socket does not take waits. */
static void send_parts(struct connection *connection, struct iovec first, struct iovec second) {
    size_t total = first.iov_len + second.iov_len, written = 0;
    if (connection->channel.tls != NULL) {
        int waits = buffer_length(&connection->out) > 0;
        buffer_append(&connection->out, first.iov_base, first.iov_len);
        buffer_append(&connection->out, second.iov_base, second.iov_len);
        if (!waits && !write_waiting(connection) && !connection->is_lost) watch_writable(connection, 1);
        return;
    }
    if (buffer_length(&connection->out) == 0) {
        struct iovec parts[2] = {first, second};
        ssize_t result = writev(connection->channel.fd, parts, 2);
        if (result < 0 && errno != EAGAIN) connection->is_lost = 1;
        if (result > 0) written = (size_t)result;
        if (written == total || connection->is_lost) return;
        watch_writable(connection, 1);
    }
    size_t of_first = written < first.iov_len ? written : first.iov_len, of_second = written - of_first;
    buffer_append(&connection->out, (char *)first.iov_base + of_first, first.iov_len - of_first);
    buffer_append(&connection->out, (char *)second.iov_base + of_second, second.iov_len - of_second);
}

static void send_text(struct connection *connection, const char *text, enum state next) {
    send_parts(connection, (struct iovec){(void *)text, strlen(text)}, (struct iovec){NULL, 0});
    connection->state = next;
}

static void stamp_now(long id, long sender) {
    double now = now_seconds();
    stamp(&message, id, now);
    if (envelope.senders > 0) write_digits(message.bytes + message.sender_at, SENDER_DIGITS, (uint64_t)sender);
    sent_at[id - options.first_id] = now;
}

static void begin_envelope(struct connection *connection, long id) {
    connection->id = id;
    connection->state = ENVELOPE;
    connection->step = connection->refusal = 0;
    connection->recipients_taken = 0;
    connection->messages++;
}

static void start_message(struct connection *connection, long id) {
    static struct buffer commands;
    commands.start = commands.end = 0;
    begin_envelope(connection, id);
    if (options.mode == LOCK) append_command(&commands, &envelope, (struct turn){id, connection->sender}, 0);
    else append_envelope(&commands, &envelope, (struct turn){id, connection->sender});
    struct iovec text = {NULL, 0};
    if (options.mode == BDAT) {
        char line[64];
        buffer_append(&commands, line, (size_t)snprintf(line, sizeof line, "BDAT %zu LAST\r\n", message.length));
        stamp_now(id, connection->sender);
        text = (struct iovec){message.bytes, message.length};
    }
    send_parts(connection, (struct iovec){commands.bytes, commands.end}, text);
}

static int may_go_on(const struct connection *connection) {
    return options.per_connection == 0 || connection->messages < options.per_connection;
}

static void go_on(struct connection *connection) {
    if (!may_go_on(connection)) return send_text(connection, "QUIT\r\n", QUIT);
    /* In turn, also when the load is light: else few connections, and so perhaps one pod, would get it all. */
    connection->state = IDLE;
    idle.at[(idle.first + idle.length++) % options.connections] = connection;
}

static void send_body(struct connection *connection) {
    static struct buffer commands;
    commands.start = commands.end = 0;
    stamp_now(connection->id, connection->sender);
    connection->state = BODY;
    connection->next_id = NO_ID;
    if (options.mode == PIPEX && may_go_on(connection)) {
        connection->next_id = take_id(now_seconds());
        if (connection->next_id != NO_ID) append_envelope(&commands, &envelope, (struct turn){connection->next_id, connection->sender});
    }
    send_parts(connection, (struct iovec){message.bytes, message.length}, (struct iovec){commands.bytes, commands.end});
}

static void count_refusal(struct connection *connection, int digit) {
    static int shown;
    if (digit == 4) counts.replies4++;
    else counts.replies5++;
    if (shown++ < 5) fprintf(stderr, "refused: %s", connection->line);
}

static void end_refused(long id, int digit) {
    if (digit == 4 && options.resend) send_again(id, now_seconds() + RETRY_SECONDS);
    else counts.refused++;
}

static void end_accepted(struct connection *connection) {
    last_progress = accepted_at[connection->id - options.first_id] = now_seconds();
    counts.accepted++;
    counts.refused_recipients += envelope.recipients - connection->recipients_taken;
}

static void end_body(struct connection *connection, int digit) {
    if (digit == 2) end_accepted(connection);
    else end_refused(connection->id, connection->refusal != 0 ? connection->refusal : digit);
    if (connection->next_id != NO_ID) {
        long id = connection->next_id;
        connection->next_id = NO_ID;
        begin_envelope(connection, id);
    } else go_on(connection);
}

/* The server has answered all of the envelope, or in lock step one that ends it. */
static void end_envelope(struct connection *connection, int digit) {
    if (options.mode == BDAT && digit == 2) {
        end_accepted(connection);
        return go_on(connection);
    }
    /* A 354 without recipients must still be answered with an end of data (RFC 2920 3.1). */
    if (digit == 3 && connection->recipients_taken > 0) return send_body(connection);
    if (digit == 3) return send_text(connection, ".\r\n", BODY);
    end_refused(connection->id, connection->refusal);
    connection->id = NO_ID;
    send_text(connection, "RSET\r\n", RESET);
}

static void on_envelope_reply(struct connection *connection, int digit) {
    long step = connection->step++, last = envelope.recipients + 1;
    if (digit >= 4) {
        count_refusal(connection, digit);
        if (connection->refusal == 0) connection->refusal = digit;
    } else if (step >= 1 && step < last) connection->recipients_taken++;
    if (step == last) return end_envelope(connection, digit);
    if (options.mode != LOCK) return;
    if (digit >= 4 && (step == 0 || (step == last - 1 && connection->recipients_taken == 0))) return end_envelope(connection, digit);
    struct buffer command = {0};
    append_command(&command, &envelope, (struct turn){connection->id, connection->sender}, step + 1);
    send_parts(connection, (struct iovec){command.bytes, command.end}, (struct iovec){NULL, 0});
    free(command.bytes);
}

static void after_ehlo(struct connection *connection) {
    int lacks = (options.mode == PIPE || options.mode == PIPEX) ? !connection->offers_pipelining
                                                                : options.mode == BDAT && !connection->offers_chunking;
    if (lacks) {
        fprintf(stderr, "Cannot send in this mode: expected the server to offer it in EHLO, got neither PIPELINING nor CHUNKING\n");
        exit(2);
    }
    ready_connections++;
    go_on(connection);
}

static void authenticate(struct connection *connection) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char plain[512], line[1024], user[256];
    if (envelope.senders > 0) snprintf(user, sizeof user, "%s%0*ld", options.user, SENDER_DIGITS, connection->sender);
    else snprintf(user, sizeof user, "%s", options.user);
    int length = snprintf(plain, sizeof plain, "%c%s%c%s", '\0', user, '\0', options.password);
    if (length < 0 || (size_t)length >= sizeof plain) fail("credentials");
    size_t used = (size_t)sprintf(line, "AUTH PLAIN ");
    for (int i = 0; i < length; i += 3) {
        uint32_t group = 0;
        for (int k = 0; k < 3; k++) group = group << 8 | (i + k < length ? (unsigned char)plain[i + k] : 0u);
        for (int k = 0; k < 4; k++) line[used++] = i + k > length ? '=' : letters[group >> (18 - 6 * k) & 63];
    }
    strcpy(line + used, "\r\n");
    send_text(connection, line, AUTH);
}

static void say_hello(struct connection *connection) { send_text(connection, "EHLO client.tenant1.example\r\n", EHLO); }

static void start_tls(struct connection *connection) {
    if (!connection->offers_tls) {
        fprintf(stderr, "Cannot send with TLS: expected STARTTLS in the reply to EHLO, got none\n");
        exit(2);
    }
    send_text(connection, "STARTTLS\r\n", STARTTLS);
}

static void on_reply(struct connection *connection, int digit) {
    switch (connection->state) {
    case GREETING:
    case AUTH:
    case STARTTLS:
    case EHLO:
        if (digit != 2) {
            count_refusal(connection, digit);
            connection->is_lost = 1;
        } else if (connection->state == GREETING) say_hello(connection);
        else if (connection->state == STARTTLS) {
            channel_encrypt(&connection->channel, 0);
            say_hello(connection);
        } else if (connection->state == EHLO && options.tls && connection->channel.tls == NULL) start_tls(connection);
        else if (connection->state == EHLO && options.user != NULL) authenticate(connection);
        else after_ehlo(connection);
        break;
    case ENVELOPE: on_envelope_reply(connection, digit); break;
    case BODY:
        if (digit >= 4) count_refusal(connection, digit);
        end_body(connection, digit);
        break;
    case RESET: go_on(connection); break;
    case IDLE: /* 421 before the server closes */
    case QUIT: connection->is_lost = 1; break;
    case CLOSED:
    case OVER: break;
    }
}

static void read_replies(struct connection *connection, const char *bytes, size_t length) {
    for (size_t i = 0; i < length && !connection->is_lost; i++) {
        if (connection->line_length < sizeof connection->line - 1) connection->line[connection->line_length++] = bytes[i];
        if (bytes[i] != '\n') continue;
        connection->line[connection->line_length] = '\0';
        if (connection->state == EHLO) {
            if (strcasestr(connection->line, "PIPELINING") != NULL) connection->offers_pipelining = 1;
            if (strcasestr(connection->line, "STARTTLS") != NULL) connection->offers_tls = 1;
            if (strcasestr(connection->line, "CHUNKING") != NULL) connection->offers_chunking = 1;
        }
        int is_last = connection->line_length < 4 || connection->line[3] != '-';
        if (is_last) on_reply(connection, connection->line[0] - '0');
        connection->line_length = 0;
    }
}

#endif
