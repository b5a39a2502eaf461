/* What the sink knows of each id: when it was complete, how often it came; and the busiest second. Fails when memory ends. */
#ifndef BENCH_LEDGER_H
#define BENCH_LEDGER_H
#include "common.h"

static const long NO_ID = -1;
static const long MAX_ID = 1L << 28;

struct ledger {
    uint32_t expected; /* recipients of an id in all its copies; more are duplicates */
    long unstamped, distinct, complete, duplicates;
    double *complete_at;  /* by id; 0 = not yet */
    uint32_t *recipients; /* by id; those that came */
    long length, used;
};

static inline void ledger_grow(struct ledger *ledger, long id) {
    if (id < ledger->length) return;
    long length = ledger->length ? ledger->length : 65536;
    while (length <= id) length *= 2;
    size_t added = (size_t)(length - ledger->length);
    ledger->complete_at = checked(realloc(ledger->complete_at, (size_t)length * sizeof *ledger->complete_at));
    ledger->recipients = checked(realloc(ledger->recipients, (size_t)length * sizeof *ledger->recipients));
    memset(ledger->complete_at + ledger->length, 0, added * sizeof *ledger->complete_at);
    memset(ledger->recipients + ledger->length, 0, added * sizeof *ledger->recipients);
    ledger->length = length;
}

static inline void ledger_note(struct ledger *ledger, long id, long recipients, double now) {
    if (id == NO_ID) {
        ledger->unstamped++;
        return;
    }
    ledger_grow(ledger, id);
    if (id >= ledger->used) ledger->used = id + 1;
    uint32_t before = ledger->recipients[id], expected = ledger->expected;
    uint32_t after = ledger->recipients[id] = before + (uint32_t)recipients;
    if (before == 0) ledger->distinct++;
    if (after > expected) ledger->duplicates += before >= expected ? recipients : (long)(after - expected);
    if (before < expected && after >= expected) {
        ledger->complete_at[id] = now;
        ledger->complete++;
    }
}

/* int64 count, then by id a double each: when it was complete. */
static inline void ledger_write(const struct ledger *ledger, const char *path) {
    FILE *file = fopen(path, "wb");
    if (file == NULL) fail(path);
    int64_t count = ledger->used;
    fwrite(&count, sizeof count, 1, file);
    fwrite(ledger->complete_at, sizeof *ledger->complete_at, (size_t)ledger->used, file);
    if (fclose(file) != 0) fail(path);
}

/* When each message came, in order. The window of one second that ends with the newest starts at `oldest`. */
struct arrivals {
    double *times;
    size_t length, capacity, oldest, busiest;
};

static inline void arrivals_note(struct arrivals *arrivals, double now) {
    if (arrivals->length == arrivals->capacity) {
        arrivals->capacity = arrivals->capacity ? arrivals->capacity * 2 : 65536;
        arrivals->times = checked(realloc(arrivals->times, arrivals->capacity * sizeof *arrivals->times));
    }
    arrivals->times[arrivals->length++] = now;
    /* Half open: what came exactly one second earlier is outside. */
    while (arrivals->times[arrivals->oldest] <= now - 1.0) arrivals->oldest++;
    size_t in_window = arrivals->length - arrivals->oldest;
    if (in_window > arrivals->busiest) arrivals->busiest = in_window;
}

#endif
