/* What generator and sink share: the clock, checked options and memory, a byte buffer, sockets on loopback. Failures end the program. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_PER_WAIT = 256, HEADER_WINDOW = 8192 };

/* Digits of the id and of the time in "X-Bench: <id> <nanoseconds>": fixed, so that they are patched in place. */
enum { ID_DIGITS = 10, TIME_DIGITS = 20 };
#define STAMP_NAME "X-Bench: "
enum { STAMP_NAME_LENGTH = sizeof STAMP_NAME - 1 };

/* CLOCK_MONOTONIC, in seconds: one clock for all processes of a machine, process.hrtime of Node included. */
static inline double now_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static inline void fail(const char *what) {
    perror(what);
    exit(1);
}

static inline void *checked(void *memory) {
    if (memory == NULL) fail("memory");
    return memory;
}

static inline double number_option(char option, const char *text, double least, double most) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= most)) {
        fprintf(stderr, "Cannot use -%c %s: expected a number from %.0f to %.0f\n", option, text, least, most);
        exit(2);
    }
    return value;
}

static inline double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

/* Bytes that wait: those from `start` to `end`. */
struct buffer {
    char *bytes;
    size_t start, end, capacity;
};

static inline size_t buffer_length(const struct buffer *buffer) { return buffer->end - buffer->start; }

/* Makes room for `extra` bytes after `end`; what was consumed gives its place first. */
static inline void buffer_reserve(struct buffer *buffer, size_t extra) {
    if (buffer->end + extra <= buffer->capacity) return;
    if (buffer->start > 0) {
        memmove(buffer->bytes, buffer->bytes + buffer->start, buffer_length(buffer));
        buffer->end -= buffer->start;
        buffer->start = 0;
    }
    if (buffer->end + extra <= buffer->capacity) return;
    buffer->capacity = (buffer->end + extra) * 2;
    buffer->bytes = checked(realloc(buffer->bytes, buffer->capacity));
}

static inline void buffer_append(struct buffer *buffer, const void *bytes, size_t length) {
    if (length == 0) return;
    buffer_reserve(buffer, length);
    memcpy(buffer->bytes + buffer->end, bytes, length);
    buffer->end += length;
}

static inline void buffer_consume(struct buffer *buffer, size_t length) {
    buffer->start += length;
    if (buffer->start == buffer->end) buffer->start = buffer->end = 0;
}

static inline struct sockaddr_in loopback_address(const char *host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1 || (ntohl(address.sin_addr.s_addr) >> 24) != 127) {
        fprintf(stderr, "Cannot use %s: expected an address in 127.0.0.0/8\n", host);
        exit(2);
    }
    return address;
}

/* A peer that is gone must not end the program by SIGPIPE. */
static inline void ignore_broken_pipes(void) { signal(SIGPIPE, SIG_IGN); }

#endif
