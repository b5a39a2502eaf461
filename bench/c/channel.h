/*
 * A connection's bytes, plain or TLS, as non-blocking reads and writes: -1 with EAGAIN = not now. TLS needs OpenSSL and
 * -DBENCH_TLS; without it `channel_load` ends the program with 2, as it does on a certificate it cannot read.
 */
#ifndef BENCH_CHANNEL_H
#define BENCH_CHANNEL_H
#include "common.h"
#ifdef BENCH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

struct channel {
    int fd;
    void *tls; /* NULL = plain */
};

#ifdef BENCH_TLS
static SSL_CTX *tls_context;

/* A server with a certificate (chain) and key, both in PEM; a client, that trusts everybody, without. */
static inline void channel_load(const char *certificate, const char *key) {
    tls_context = SSL_CTX_new(certificate == NULL ? TLS_client_method() : TLS_server_method());
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(tls_context, SSL_VERIFY_NONE, NULL);
    if (certificate == NULL) return;
    if (SSL_CTX_use_certificate_chain_file(tls_context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls_context, key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(2);
    }
}

static inline void channel_encrypt(struct channel *channel, int is_server) {
    SSL *tls = checked(SSL_new(tls_context));
    SSL_set_fd(tls, channel->fd);
    if (is_server) SSL_set_accept_state(tls);
    else SSL_set_connect_state(tls);
    channel->tls = tls;
}

static inline ssize_t tls_result(SSL *tls, int result) {
    if (result > 0) return result;
    int reason = SSL_get_error(tls, result);
    ERR_clear_error();
    if (reason == SSL_ERROR_ZERO_RETURN) return 0;
    errno = reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE ? EAGAIN : ECONNRESET;
    return -1;
}

static inline void channel_close(struct channel *channel) {
    if (channel->tls != NULL) {
        SSL_shutdown(channel->tls);
        SSL_free(channel->tls);
        channel->tls = NULL;
    }
    close(channel->fd);
}
#else
static inline void channel_load(const char *certificate, const char *key) {
    (void)certificate, (void)key;
    fprintf(stderr, "Cannot speak TLS: expected a build with -DBENCH_TLS, got one without\n");
    exit(2);
}

static inline void channel_encrypt(struct channel *channel, int is_server) { (void)channel, (void)is_server; }
static inline void channel_close(struct channel *channel) { close(channel->fd); }
#endif

/* TLS: call again until it says EAGAIN, as a decrypted rest wakes nobody. */
static inline ssize_t channel_read(struct channel *channel, void *bytes, size_t length) {
#ifdef BENCH_TLS
    if (channel->tls != NULL) return tls_result(channel->tls, SSL_read(channel->tls, bytes, (int)length));
#endif
    return read(channel->fd, bytes, length);
}

/* After EAGAIN the same bytes must come again, at any address; more may follow them. */
static inline ssize_t channel_write(struct channel *channel, const void *bytes, size_t length) {
#ifdef BENCH_TLS
    if (channel->tls != NULL) return tls_result(channel->tls, SSL_write(channel->tls, bytes, (int)length));
#endif
    return write(channel->fd, bytes, length);
}

#endif
