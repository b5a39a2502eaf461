/*
 * An SMTP server on loopback that throws mail away, counts it and audits the ids in it. One thread, epoll. Ends with 1
 * when it cannot listen. Prints {"listening":PORT}, a line of counts at SIGUSR1; at SIGTERM it writes -o and ends.
 *
 * sink [-p port] [-r recipients] [-o file] [-x] [-d ms] [-f share] [-q messages] [-c connections] [-T certificate -K key]
 *  -p  port to listen on; 0 = any free one
 *  -r  recipients that each id has in all its copies: more of them are duplicates (default 1)
 *  -o  file for the time each id was complete: int64 count, then a double each, 0 = never
 *  -x  offer neither PIPELINING nor CHUNKING
 *  -d  hold the reply to the final dot back for so long
 *  -f  share of messages, 0 to 1, answered with 451 after the final dot
 *  -q  answer MAIL with 421 and close after so many messages of a connection
 *  -c  greet connections beyond so many with 421 and close
 *  -T  offer STARTTLS with this certificate and the key of -K (PEM files), and take mail only inside it; needs -DBENCH_TLS
 */
#include "channel.h"
#include "common.h"
#include "ledger.h"
#include <sys/signalfd.h>

enum phase { COMMANDS, DATA, CHUNK };

struct connection {
    struct channel channel;
    enum phase phase;
    struct buffer in, out;
    size_t chunk_left;
    int chunk_is_last;
    long id; /* of the message being received; NO_ID until its header was seen */
    int header_seen;
    long recipients, messages;
    int closing;       /* once `out` is written */
    int starting_tls;  /* the same */
    double held_until; /* 0 = not held */
    struct connection *next_held;
};

static struct {
    int port, plain;
    double delay_seconds, refused_share;
    long messages_per_connection, connections;
    const char *times_file, *certificate, *key;
} options = {.port = 2526};

static struct {
    long messages, recipients, bytes, connections, open, most_open, deferred, refused_connections, is_signed;
    double last;
    double refusal_debt; /* grows by the share with each message; at 1 a message is refused */
} counts;

static struct ledger ledger = {.expected = 1};
static struct arrivals arrivals;
static struct connection *held_first, *held_last;
static int poll_fd;

static void reply(struct connection *connection, const char *text) {
    buffer_append(&connection->out, text, strlen(text));
}

/* Looks for the stamp near the top: relays put their own header fields before it. */
static long stamped_id(const char *bytes, size_t length) {
    if (length > HEADER_WINDOW) length = HEADER_WINDOW;
    const char *stamp = memmem(bytes, length, STAMP_NAME, STAMP_NAME_LENGTH);
    if (stamp == NULL || stamp + STAMP_NAME_LENGTH + ID_DIGITS > bytes + length) return NO_ID;
    long id = 0;
    for (const char *digit = stamp + STAMP_NAME_LENGTH; digit < stamp + STAMP_NAME_LENGTH + ID_DIGITS; digit++) {
        if (*digit < '0' || *digit > '9') return NO_ID;
        id = id * 10 + (*digit - '0');
    }
    return id < MAX_ID ? id : NO_ID;
}

static void hold(struct connection *connection, double now) {
    connection->held_until = now + options.delay_seconds;
    connection->next_held = NULL;
    if (held_last != NULL) held_last->next_held = connection;
    else held_first = connection;
    held_last = connection;
}

static void end_message(struct connection *connection) {
    double now = now_seconds();
    arrivals_note(&arrivals, now);
    counts.last = now;
    connection->messages++;
    counts.refusal_debt += options.refused_share;
    if (counts.refusal_debt >= 1.0) {
        counts.refusal_debt -= 1.0;
        counts.deferred++;
        reply(connection, "451 4.3.0 not now, says the sink\r\n");
    } else {
        counts.messages++;
        counts.recipients += connection->recipients;
        ledger_note(&ledger, connection->id, connection->recipients, now);
        reply(connection, "250 2.0.0 Ok\r\n");
    }
    connection->recipients = 0;
    connection->id = NO_ID;
    connection->header_seen = 0;
    connection->phase = COMMANDS;
    if (options.delay_seconds > 0) hold(connection, now);
}

static int starts_with(const char *line, size_t length, const char *verb) {
    size_t verb_length = strlen(verb);
    return length >= verb_length && strncasecmp(line, verb, verb_length) == 0;
}

static void begin_chunk(struct connection *connection, const char *line, size_t length) {
    char text[64];
    size_t kept = length < sizeof text ? length : sizeof text - 1;
    memcpy(text, line, kept);
    text[kept] = '\0';
    connection->chunk_left = strtoul(text + 5, NULL, 10);
    connection->chunk_is_last = strcasestr(text, "LAST") != NULL;
    connection->phase = CHUNK;
}

static void say_hello(struct connection *connection) {
    int offers_tls = options.certificate != NULL && connection->channel.tls == NULL;
    reply(connection, "250-sink.test\r\n");
    if (offers_tls) reply(connection, "250-STARTTLS\r\n");
    reply(connection, options.plain ? "250-SIZE 52428800\r\n250 8BITMIME\r\n"
                                    : "250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250-CHUNKING\r\n"
                                      "250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n");
}

static void obey(struct connection *connection, const char *line, size_t length) {
    if (starts_with(line, length, "MAIL")) {
        if (options.certificate != NULL && connection->channel.tls == NULL)
            reply(connection, "530 5.7.0 Must issue a STARTTLS command first\r\n");
        else if (options.messages_per_connection > 0 && connection->messages >= options.messages_per_connection) {
            reply(connection, "421 4.7.0 enough for one connection\r\n");
            connection->closing = 1;
        } else reply(connection, "250 2.1.0 Ok\r\n");
    } else if (starts_with(line, length, "RCPT")) {
        connection->recipients++;
        reply(connection, "250 2.1.5 Ok\r\n");
    } else if (starts_with(line, length, "DATA")) {
        connection->phase = DATA;
        reply(connection, "354 go ahead\r\n");
    } else if (starts_with(line, length, "BDAT ")) begin_chunk(connection, line, length);
    else if (starts_with(line, length, "EHLO")) say_hello(connection);
    else if (starts_with(line, length, "STARTTLS") && options.certificate != NULL && connection->channel.tls == NULL) {
        reply(connection, "220 2.0.0 go ahead\r\n");
        connection->starting_tls = 1;
    }
    else if (starts_with(line, length, "RSET")) {
        connection->recipients = 0;
        reply(connection, "250 2.0.0 Ok\r\n");
    } else if (starts_with(line, length, "HELO") || starts_with(line, length, "NOOP")) reply(connection, "250 2.0.0 Ok\r\n");
    else if (starts_with(line, length, "QUIT")) {
        reply(connection, "221 2.0.0 Bye\r\n");
        connection->closing = 1;
    } else reply(connection, "500 5.5.2 unknown command\r\n");
}

/* Each `take_` consumes what it can; 0 = it needs more bytes. */
static int take_line(struct connection *connection) {
    char *line = connection->in.bytes + connection->in.start;
    size_t waiting = buffer_length(&connection->in);
    char *newline = waiting == 0 ? NULL : memchr(line, '\n', waiting);
    if (newline == NULL) return 0;
    size_t length = (size_t)(newline - line);
    obey(connection, line, length > 0 && line[length - 1] == '\r' ? length - 1 : length);
    buffer_consume(&connection->in, (size_t)(newline - line) + 1);
    return 1;
}

static void see_header(struct connection *connection, const char *bytes, size_t length) {
    static const char signature[] = "DKIM-Signature:";
    connection->id = stamped_id(bytes, length);
    if (memmem(bytes, length < HEADER_WINDOW ? length : HEADER_WINDOW, signature, sizeof signature - 1) != NULL) counts.is_signed++;
    connection->header_seen = 1;
}

static int take_data(struct connection *connection) {
    static const char dot[] = "\r\n.\r\n";
    enum { DOT_LENGTH = sizeof dot - 1 };
    char *body = connection->in.bytes + connection->in.start;
    size_t length = buffer_length(&connection->in);
    if (!connection->header_seen && length >= 3 && memcmp(body, ".\r\n", 3) == 0) {
        buffer_consume(&connection->in, 3);
        end_message(connection);
        return 1;
    }
    if (length < DOT_LENGTH) return 0;
    char *end = memmem(body, length, dot, DOT_LENGTH);
    if (!connection->header_seen) {
        if (end == NULL && length < HEADER_WINDOW) return 0;
        see_header(connection, body, length);
    }
    size_t taken = end != NULL ? (size_t)(end - body) + DOT_LENGTH : length - (DOT_LENGTH - 1);
    counts.bytes += (long)taken;
    buffer_consume(&connection->in, taken);
    if (end == NULL) return 0;
    end_message(connection);
    return 1;
}

static int take_chunk(struct connection *connection) {
    size_t length = buffer_length(&connection->in);
    size_t taken = length < connection->chunk_left ? length : connection->chunk_left;
    if (!connection->header_seen && connection->chunk_left > 0) {
        if (taken < connection->chunk_left && taken < HEADER_WINDOW) return 0;
        see_header(connection, connection->in.bytes + connection->in.start, taken);
    }
    counts.bytes += (long)taken;
    buffer_consume(&connection->in, taken);
    connection->chunk_left -= taken;
    if (connection->chunk_left > 0) return 0;
    if (connection->chunk_is_last) end_message(connection);
    else {
        reply(connection, "250 2.0.0 chunk taken\r\n");
        connection->phase = COMMANDS;
    }
    return 1;
}

static int take_next(struct connection *connection) {
    switch (connection->phase) {
    case COMMANDS: return take_line(connection);
    case DATA: return take_data(connection);
    case CHUNK: return take_chunk(connection);
    }
    return 0;
}

static void close_connection(struct connection *connection) {
    struct connection **link = &held_first, *before = NULL;
    while (*link != NULL && *link != connection) {
        before = *link;
        link = &(*link)->next_held;
    }
    if (*link == connection && connection->held_until > 0) {
        *link = connection->next_held;
        if (held_last == connection) held_last = before;
    }
    channel_close(&connection->channel);
    free(connection->in.bytes);
    free(connection->out.bytes);
    free(connection);
    counts.open--;
}

static void write_out(struct connection *connection) {
    struct buffer *out = &connection->out;
    while (buffer_length(out) > 0) {
        ssize_t written = channel_write(&connection->channel, out->bytes + out->start, buffer_length(out));
        if (written <= 0) break;
        buffer_consume(out, (size_t)written);
    }
    struct epoll_event event = {.events = EPOLLIN | (buffer_length(out) > 0 ? EPOLLOUT : 0u), .data.ptr = connection};
    if (buffer_length(out) > 0) epoll_ctl(poll_fd, EPOLL_CTL_MOD, connection->channel.fd, &event);
}

/* Obeys what has been read, and closes the connection when it is over. @return 0 when it was closed */
static int advance(struct connection *connection) {
    while (connection->held_until == 0 && !connection->closing && !connection->starting_tls)
        if (!take_next(connection)) break;
    if (connection->held_until > 0) return 1;
    write_out(connection);
    if (buffer_length(&connection->out) > 0) return 1;
    if (connection->starting_tls) {
        connection->starting_tls = 0;
        connection->in.start = connection->in.end = 0;
        channel_encrypt(&connection->channel, 1);
    }
    if (!connection->closing) return 1;
    close_connection(connection);
    return 0;
}

static void serve(struct connection *connection, uint32_t events) {
    enum { READ_BYTES = 65536 };
    if (events & EPOLLOUT) {
        write_out(connection);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (buffer_length(&connection->out) == 0) epoll_ctl(poll_fd, EPOLL_CTL_MOD, connection->channel.fd, &event);
    }
    ssize_t got;
    do {
        buffer_reserve(&connection->in, READ_BYTES);
        got = channel_read(&connection->channel, connection->in.bytes + connection->in.end, READ_BYTES);
        if (got == 0 || (got < 0 && errno != EAGAIN)) return close_connection(connection);
        if (got > 0) connection->in.end += (size_t)got;
        if (!advance(connection)) return;
    } while (got > 0 && connection->channel.tls != NULL);
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0) return;
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *connection = checked(calloc(1, sizeof *connection));
        connection->channel.fd = fd;
        connection->id = NO_ID;
        counts.connections++;
        if (++counts.open > counts.most_open) counts.most_open = counts.open;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
        if (options.connections > 0 && counts.open > options.connections) {
            counts.refused_connections++;
            reply(connection, "421 4.7.0 too many connections\r\n");
            connection->closing = 1;
        } else reply(connection, "220 sink.test ESMTP\r\n");
        advance(connection);
    }
}

/* The delay is the same for all, so the first held is the first due. @return ms until the next one, -1 = none */
static int release_held(void) {
    double now = now_seconds();
    while (held_first != NULL && held_first->held_until <= now) {
        struct connection *connection = held_first;
        held_first = connection->next_held;
        if (held_first == NULL) held_last = NULL;
        connection->held_until = 0;
        advance(connection);
    }
    return held_first == NULL ? -1 : (int)ceil((held_first->held_until - now) * 1e3);
}

static void print_counts(void) {
    printf("{\"messages\":%ld,\"recipients\":%ld,\"bytes\":%ld,\"connections\":%ld,\"mostOpen\":%ld,\"unstamped\":%ld,"
           "\"distinct\":%ld,\"complete\":%ld,\"duplicates\":%ld,\"deferred\":%ld,\"refusedConnections\":%ld,"
           "\"signed\":%ld,\"busiestSecond\":%zu,\"lastAt\":%.6f,\"cpuSeconds\":%.3f}\n",
           counts.messages, counts.recipients, counts.bytes, counts.connections, counts.most_open, ledger.unstamped,
           ledger.distinct, ledger.complete, ledger.duplicates, counts.deferred, counts.refused_connections,
           counts.is_signed, arrivals.busiest, counts.last, cpu_seconds());
    fflush(stdout);
}

static int listen_on_loopback(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    if (fd < 0) fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = loopback_address("127.0.0.1", options.port);
    socklen_t length = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, length) < 0) fail("bind");
    if (listen(fd, 4096) < 0) fail("listen");
    getsockname(fd, (struct sockaddr *)&address, &length);
    printf("{\"listening\":%d}\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void read_options(int count, char **arguments) {
    int option;
    while ((option = getopt(count, arguments, "p:r:o:xd:f:q:c:T:K:")) != -1) switch (option) {
        case 'p': options.port = (int)number_option('p', optarg, 0, 65535); break;
        case 'r': ledger.expected = (uint32_t)number_option('r', optarg, 1, 10000); break;
        case 'o': options.times_file = optarg; break;
        case 'x': options.plain = 1; break;
        case 'd': options.delay_seconds = number_option('d', optarg, 0, 600000) / 1e3; break;
        case 'f': options.refused_share = number_option('f', optarg, 0, 1); break;
        case 'q': options.messages_per_connection = (long)number_option('q', optarg, 0, 1e9); break;
        case 'c': options.connections = (long)number_option('c', optarg, 0, 1e6); break;
        case 'T': options.certificate = optarg; break;
        case 'K': options.key = optarg; break;
        default: exit(2);
        }
    if (options.certificate != NULL) channel_load(options.certificate, options.key == NULL ? options.certificate : options.key);
}

int main(int count, char **arguments) {
    read_options(count, arguments);
    ignore_broken_pipes();
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int signal_fd = signalfd(-1, &signals, SFD_NONBLOCK);
    poll_fd = epoll_create1(0);
    int listener = listen_on_loopback();
    struct epoll_event on_signal = {.events = EPOLLIN, .data.ptr = &signals}, on_accept = {.events = EPOLLIN};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, signal_fd, &on_signal);
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &on_accept);
    struct epoll_event events[EVENTS_PER_WAIT];
    for (;;) {
        int ready = epoll_wait(poll_fd, events, EVENTS_PER_WAIT, release_held());
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == NULL) accept_all(listener);
            else if (events[i].data.ptr != &signals) serve(events[i].data.ptr, events[i].events);
            else {
                struct signalfd_siginfo signal_info;
                while (read(signal_fd, &signal_info, sizeof signal_info) == sizeof signal_info) {
                    print_counts();
                    if (signal_info.ssi_signo == SIGUSR1) continue;
                    if (options.times_file != NULL) ledger_write(&ledger, options.times_file);
                    return 0;
                }
            }
        }
    }
}
