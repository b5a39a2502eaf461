/*
 * Sends stamped messages to an SMTP server on loopback. One thread, epoll. What a lost connection leaves is sent again.
 * Prints one line of JSON at the end; ends with 1 when a message was refused for good or nothing moved for -t seconds.
 *
 * generator [-h address] [-p port] [-c connections] [-n messages] [-i first id] [-k messages per connection]
 *           [-l bytes] [-D percent of lines that start with a dot] [-m lock|pipe|pipex|bdat] [-s sender]
 *           [-r recipients] [-d domain,domain...] [-R messages per second] [-u user -P password] [-e resend|report]
 *           [-T senders] [-x] [-t seconds] [-o file]
 *  -m  lock: one command a round trip; pipe: the envelope in one, the text in the next; pipex: the next envelope goes
 *      with the text; bdat: envelope and text in one
 *  -R  in even steps, looked at each millisecond; without it as fast as the server answers
 *  -T  so many senders, at most 100000: connections in turn log in as user -u with five digits after it, and send as
 *      sender@tNNNNN.example
 *  -x  STARTTLS; needs a build with -DBENCH_TLS
 *  -e  what to do about a 4xx: send the message again 100 ms later, or only count it (default resend)
 *  -o  int64 first id, int64 count, then two doubles each by id: when it was sent, when accepted (0 = never)
 */
#include "common.h"
#include "session.h"

static long opened;

static void open_connection(struct connection *connection) {
    struct buffer out = connection->out;
    out.start = out.end = 0;
    long sender = envelope.senders > 0 ? opened++ % envelope.senders : 0;
    *connection = (struct connection){.state = GREETING, .out = out, .id = NO_ID, .next_id = NO_ID, .sender = sender};
    int fd = connection->channel.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) fail("socket");
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) connection->is_lost = 1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void leave_idle(struct connection *connection) {
    for (long i = 0; i < idle.length; i++) {
        struct connection **place = &idle.at[(idle.first + i) % options.connections];
        if (*place != connection) continue;
        *place = idle.at[(idle.first + idle.length - 1) % options.connections];
        idle.length--;
        return;
    }
}

static void close_connection(struct connection *connection) {
    enum state state = connection->state;
    double now = now_seconds();
    channel_close(&connection->channel);
    if (state == IDLE) leave_idle(connection);
    if (state != QUIT) counts.lost_connections++;
    if (state > AUTH) ready_connections--;
    if (state == ENVELOPE || state == BODY) send_again(connection->id, now);
    if (state == BODY && connection->next_id != NO_ID) send_again(connection->next_id, now);
    /* The server may have taken it: the message may come twice. */
    if (state == BODY || (state == ENVELOPE && options.mode == BDAT)) counts.uncertain++;
    connection->state = is_finished() ? OVER : CLOSED;
    connection->connect_at = state == QUIT ? now : now + RETRY_SECONDS;
}

static void serve(struct connection *connection, uint32_t events) {
    static char bytes[65536];
    if ((events & EPOLLOUT) && write_waiting(connection)) watch_writable(connection, 0);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    do {
        ssize_t got = channel_read(&connection->channel, bytes, sizeof bytes);
        if (got > 0) read_replies(connection, bytes, (size_t)got);
        else if (got == 0 || errno != EAGAIN) connection->is_lost = 1;
        else break;
    } while (connection->channel.tls != NULL && !connection->is_lost);
}

static void read_domains(char *text) {
    envelope.domain_count = 0;
    for (char *domain = strtok(text, ","); domain != NULL; domain = strtok(NULL, ",")) {
        envelope.domains = checked(realloc(envelope.domains, sizeof *envelope.domains * (size_t)(envelope.domain_count + 1)));
        envelope.domains[envelope.domain_count++] = domain;
    }
}

static enum mode mode_option(const char *text) {
    static const char *names[] = {"lock", "pipe", "pipex", "bdat"};
    for (int mode = LOCK; mode <= BDAT; mode++)
        if (strcmp(text, names[mode]) == 0) return (enum mode)mode;
    fprintf(stderr, "Cannot use -m %s: expected lock, pipe, pipex or bdat\n", text);
    exit(2);
}

static void read_options(int count, char **arguments) {
    static char default_domain[] = "sink.test";
    size_t size = 10240;
    int option, dots = 0;
    read_domains(default_domain);
    while ((option = getopt(count, arguments, "h:p:c:n:i:k:l:D:m:s:r:d:R:u:P:T:xe:t:o:")) != -1) switch (option) {
        case 'h': options.host = optarg; break;
        case 'p': options.port = (int)number_option('p', optarg, 1, 65535); break;
        case 'c': options.connections = (int)number_option('c', optarg, 1, 60000); break;
        case 'n': options.messages = (long)number_option('n', optarg, 1, 1e8); break;
        case 'i': options.first_id = (long)number_option('i', optarg, 0, 1e8); break;
        case 'k': options.per_connection = (long)number_option('k', optarg, 0, 1e9); break;
        case 'l': size = (size_t)number_option('l', optarg, 1, 1e9); break;
        case 'D': dots = (int)number_option('D', optarg, 0, 100); break;
        case 'm': options.mode = mode_option(optarg); break;
        case 's': envelope.sender = optarg; break;
        case 'r': envelope.recipients = (long)number_option('r', optarg, 1, 1000); break;
        case 'd': read_domains(optarg); break;
        case 'R': options.rate = number_option('R', optarg, 0, 1e7); break;
        case 'u': options.user = optarg; break;
        case 'P': options.password = optarg; break;
        case 'T': envelope.senders = (long)number_option('T', optarg, 1, 100000); break;
        case 'x': options.tls = 1; break;
        case 'e': options.resend = strcmp(optarg, "resend") == 0; break;
        case 't': options.stall_seconds = number_option('t', optarg, 1, 1e6); break;
        case 'o': options.times_file = optarg; break;
        default: exit(2);
        }
    if (options.user != NULL && options.password == NULL) options.password = "";
    if (options.connections > options.messages) options.connections = (int)options.messages;
    if (envelope.senders > 0) envelope.sender = "sender@t00000.example";
    if (options.tls) channel_load(NULL, NULL);
    envelope.with_data = options.mode != BDAT;
    message = make_message(size, envelope.sender, dots, options.mode == BDAT);
}

static void write_times(void) {
    FILE *file = options.times_file == NULL ? NULL : fopen(options.times_file, "wb");
    if (file == NULL) {
        if (options.times_file != NULL) fail(options.times_file);
        return;
    }
    int64_t first = options.first_id, count = options.messages;
    fwrite(&first, sizeof first, 1, file);
    fwrite(&count, sizeof count, 1, file);
    fwrite(sent_at, sizeof *sent_at, (size_t)count, file);
    fwrite(accepted_at, sizeof *accepted_at, (size_t)count, file);
    if (fclose(file) != 0) fail(options.times_file);
}

static void print_counts(double started) {
    double seconds = last_progress - started;
    printf("{\"accepted\":%ld,\"refused\":%ld,\"resent\":%ld,\"replies4xx\":%ld,\"replies5xx\":%ld,\"refusedRecipients\":%ld,"
           "\"lostConnections\":%ld,\"uncertain\":%ld,\"seconds\":%.4f,\"perSecond\":%.1f,\"maxLagMs\":%.2f,"
           "\"messageBytes\":%zu,\"startedAt\":%.6f,\"lastAcceptedAt\":%.6f,\"cpuSeconds\":%.3f}\n",
           counts.accepted, counts.refused, counts.resent, counts.replies4, counts.replies5, counts.refused_recipients,
           counts.lost_connections, counts.uncertain, seconds, (double)counts.accepted / seconds, max_lag * 1e3,
           message.length, started, last_progress, cpu_seconds());
}

static struct connection *make_all(void) {
    size_t messages = (size_t)options.messages;
    sent_at = checked(calloc(messages, sizeof *sent_at));
    accepted_at = checked(calloc(messages, sizeof *accepted_at));
    again.capacity = options.messages;
    again.ids = checked(calloc(messages, sizeof *again.ids));
    again.due = checked(calloc(messages, sizeof *again.due));
    idle.at = checked(calloc((size_t)options.connections, sizeof(struct connection *)));
    return checked(calloc((size_t)options.connections, sizeof(struct connection)));
}

/* @return connections that are not closed for good */
static int wake(struct connection *connections, double now) {
    int alive = 0;
    for (int i = 0; i < options.connections; i++) {
        struct connection *connection = &connections[i];
        if (connection->state == CLOSED && connection->connect_at <= now) {
            if (is_finished()) connection->state = OVER;
            else open_connection(connection);
        }
        if (connection->state != OVER) alive++;
    }
    return alive;
}

static void give_work(double now) {
    long id;
    while (idle.length > 0 && (id = take_id(now)) != NO_ID) {
        struct connection *connection = idle.at[idle.first];
        idle.first = (idle.first + 1) % options.connections;
        idle.length--;
        start_message(connection, id);
    }
    for (; is_finished() && idle.length > 0; idle.length--) {
        send_text(idle.at[idle.first], "QUIT\r\n", QUIT);
        idle.first = (idle.first + 1) % options.connections;
    }
}

static int wait_ms(void) {
    if (options.rate > 0) return 1;
    return again.length > 0 || ready_connections < options.connections ? 10 : 1000;
}

/* @return 0 when the messages are through, 1 when nothing moves any more */
static int run(struct connection *connections, double started) {
    struct epoll_event events[EVENTS_PER_WAIT];
    double looked_at = 0;
    for (;;) {
        double now = now_seconds();
        if (now - looked_at > 0.005) {
            looked_at = now;
            if (wake(connections, now) == 0) return 0;
            if (now - last_progress > options.stall_seconds) return is_finished() ? 0 : 1;
            int all_ready = ready_connections == options.connections || now - started > 2;
            if (pacing_since == 0 && all_ready) pacing_since = now;
        }
        give_work(now);
        int ready = epoll_wait(poll_fd, events, EVENTS_PER_WAIT, is_finished() ? 5 : wait_ms());
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            serve(connection, events[i].events);
            if (connection->is_lost) close_connection(connection);
        }
    }
}

int main(int count, char **arguments) {
    read_options(count, arguments);
    ignore_broken_pipes();
    server = loopback_address(options.host, options.port);
    poll_fd = epoll_create1(0);
    struct connection *connections = make_all();
    double started = last_progress = now_seconds();
    int stalled = run(connections, started);
    if (stalled) fprintf(stderr, "stalled: nothing was accepted for %.0f s\n", options.stall_seconds);
    print_counts(pacing_since > 0 && options.rate > 0 ? pacing_since : started);
    write_times();
    return stalled || counts.refused > 0;
}
