// SPDX-License-Identifier: Apache-2.0
// A load generator for benchmarks: one epoll thread, one request at a time on each of N keep-alive connections (closed loop).
//
//   bench_load PORT CONNECTIONS SECONDS [NAME=VALUE ...]
//     prompt=BYTES     size of the prompt (200)
//     stream=1         streams instead of plain replies
//     tokens=N         "max_tokens" of the request (64)
//     gap=US           "seed" of the request: what the mock engine waits before a reply, or between tokens (0)
//     requests=N       stop after so many replies (0: only after SECONDS)
//     ramp=MS          open the connections over this time (100)
//     keys=N           keys sk-bench-00000000 … to use (1)
//     models=N         0: the model "mock"; else models m-000000 … (0)
//     vary=request     take another key and model with each request, at random, not with each connection
//     vary=turn        take the next key and model with each request: all of them once before any of them again
//
// Prints one JSON object. All times are microseconds. "one_way" is the time from the mock engine's writing of a token to its reading here.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 512, HEAD_BYTES = 8192, STAMP = 18 /* " t" and 16 digits */ };
enum state { CONNECTING, IDLE, SENDING_OR_WAITING };
enum chunk_state { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_END, LAST_CHUNK };

// --- a histogram with 64 steps to each power of two

enum { STEPS = 64, POWERS = 40 };
struct histogram {
    unsigned long counts[POWERS * STEPS], count, max;
    double sum;
};

static void add(struct histogram *h, unsigned long value) {
    int place = (int)value;
    if (value >= STEPS) {
        int power = 63 - __builtin_clzl(value);
        place = (power - 5) * STEPS + (int)((value >> (power - 6)) & (STEPS - 1));
    }
    h->counts[place]++;
    h->count++;
    h->sum += (double)value;
    if (value > h->max) h->max = value;
}

static double quantile(const struct histogram *h, double share) {
    unsigned long wanted = (unsigned long)((double)h->count * share), seen = 0;
    for (int i = 0; i < POWERS * STEPS; i++) {
        seen += h->counts[i];
        if (seen > wanted) return i < STEPS ? i : (double)((64UL + (unsigned)i % STEPS) << (i / STEPS + 5 - 6));
    }
    return (double)h->max;
}

// --- what is measured

static struct histogram latency, first_token, one_way, token_gap;
static unsigned long done, tokens, errors, reconnects, not_200;

// --- the connections

struct connection {
    int fd;
    enum state state;
    unsigned long begun_us, last_token_us;
    int head_done, chunked, saw_token;
    long body_left, chunk_left;
    enum chunk_state chunk_state;
    char head[HEAD_BYTES];
    int head_size;
    char carry[STAMP];
    int carried;
    char *request;
    size_t sent;
    unsigned number;
};

static int epoll_fd, port, streaming, vary_by_request, vary_in_turn;
static unsigned key_count = 1, model_count, turn;
static char *request_text;
static size_t request_size, key_at, model_at;
static unsigned long random_state = 88172645463325252UL;

static unsigned long now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned long)now.tv_sec * 1000000UL + (unsigned long)now.tv_nsec / 1000;
}

static unsigned random_number(void) { // xorshift64
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 32);
}

static void *need(void *memory) {
    if (!memory) {
        perror("memory");
        exit(1);
    }
    return memory;
}

static void digits(char *at, int width, unsigned value) {
    for (int i = width - 1; i >= 0; i--, value /= 10) at[i] = (char)('0' + value % 10);
}

static void choose(struct connection *c, unsigned number) {
    if (key_count > 1) digits(c->request + key_at, 8, number % key_count);
    if (model_count) digits(c->request + model_at, 6, number % model_count);
}

static void open_connection(struct connection *c) {
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    connect(c->fd, (void *)&address, sizeof address);
    c->state = CONNECTING;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
}

static void send_on(struct connection *c) {
    while (c->sent < request_size) {
        ssize_t sent = write(c->fd, c->request + c->sent, request_size - c->sent);
        if (sent < 0) break;
        c->sent += (size_t)sent;
    }
    struct epoll_event event = {.events = EPOLLIN | (c->sent < request_size ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

static void begin(struct connection *c) {
    if (vary_in_turn) choose(c, turn++);
    else if (vary_by_request) choose(c, random_number());
    c->state = SENDING_OR_WAITING;
    c->head_done = c->chunked = c->saw_token = c->head_size = c->carried = 0;
    c->body_left = -1;
    c->chunk_left = 0;
    c->chunk_state = CHUNK_SIZE;
    c->sent = 0;
    c->last_token_us = 0;
    c->begun_us = now_us();
    send_on(c);
}

// --- reading replies

static void count_token(struct connection *c, unsigned long stamp, unsigned long now) {
    tokens++;
    add(&one_way, now > stamp ? now - stamp : 0);
    if (!c->saw_token) {
        c->saw_token = 1;
        add(&first_token, now - c->begun_us);
    } else {
        add(&token_gap, now - c->last_token_us);
    }
    c->last_token_us = now;
}

// Look for stamps; one may lie across two reads, so the last bytes are carried over.
static void payload(struct connection *c, const char *data, long size, unsigned long now) {
    static char text[STAMP + 65536];
    while (streaming && size > 0) {
        long piece = size > 65536 ? 65536 : size;
        memcpy(text, c->carry, (size_t)c->carried);
        memcpy(text + c->carried, data, (size_t)piece);
        long length = c->carried + piece, place = 0;
        while (place + STAMP <= length) {
            char *found = memchr(text + place, ' ', (size_t)(length - place));
            if (!found) {
                place = length;
                break;
            }
            place = found - text;
            if (place + STAMP > length) break;
            int stamp_here = found[1] == 't';
            unsigned long stamp = 0;
            for (int i = 2; stamp_here && i < STAMP; i++) {
                stamp_here = found[i] >= '0' && found[i] <= '9';
                stamp = stamp * 10 + (unsigned long)(found[i] - '0');
            }
            if (stamp_here) count_token(c, stamp, now);
            place += stamp_here ? STAMP : 1;
        }
        long keep = length - place;
        if (keep > STAMP - 1) keep = STAMP - 1;
        memcpy(c->carry, text + length - keep, (size_t)keep);
        c->carried = (int)keep;
        data += piece;
        size -= piece;
    }
}

static int hexadecimal(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// 1: the head is in, *data and *size are what follows it; 0: more is needed; -1: this is no reply.
static int read_head(struct connection *c, char **data, long *size) {
    long piece = *size < HEAD_BYTES - 1 - c->head_size ? *size : HEAD_BYTES - 1 - c->head_size;
    int before = c->head_size;
    memcpy(c->head + before, *data, (size_t)piece);
    c->head_size += (int)piece;
    c->head[c->head_size] = 0;
    char *end = memmem(c->head, (size_t)c->head_size, "\r\n\r\n", 4);
    if (!end) return c->head_size == HEAD_BYTES - 1 ? -1 : 0;
    *end = 0;
    c->head_done = 1;
    if (strncmp(c->head + 8, " 200", 4)) {
        if (!not_200++) fprintf(stderr, "load: %.400s\n", c->head);
    }
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    if (length)
        c->body_left = strtol(length + 17, NULL, 10);
    else
        c->chunked = strcasestr(c->head, "chunked") != NULL;
    long used = end + 4 - c->head - before;
    *data += used;
    *size -= used;
    return 1;
}

// 1: the reply is whole, 0: not yet, -1: it is none.
static int read_reply(struct connection *c, char *data, long size, unsigned long now) {
    if (!c->head_done) {
        int head = read_head(c, &data, &size);
        if (head <= 0) return head;
    }
    if (!c->chunked) {
        payload(c, data, size, now);
        c->body_left -= size;
        return c->body_left <= 0;
    }
    while (size > 0) {
        if (c->chunk_state == CHUNK_DATA) {
            long piece = size < c->chunk_left ? size : c->chunk_left;
            payload(c, data, piece, now);
            data += piece;
            size -= piece;
            c->chunk_left -= piece;
            if (!c->chunk_left) c->chunk_state = CHUNK_END;
            continue;
        }
        char byte = *data++;
        size--;
        switch (c->chunk_state) {
        case CHUNK_SIZE:
            if (byte == ';') {
                c->chunk_state = CHUNK_EXTENSION;
            } else if (byte != '\r' && byte != '\n') {
                if (hexadecimal(byte) < 0) return -1;
                c->chunk_left = c->chunk_left * 16 + hexadecimal(byte);
            }
            // fall through
        case CHUNK_EXTENSION:
            if (byte == '\n') c->chunk_state = c->chunk_left ? CHUNK_DATA : LAST_CHUNK;
            break;
        case CHUNK_END:
            if (byte == '\n') c->chunk_state = CHUNK_SIZE;
            break;
        default:
            if (byte == '\n') return 1;
        }
    }
    return 0;
}

static void broken(struct connection *c) {
    close(c->fd);
    if (c->state == IDLE)
        reconnects++;
    else
        errors++;
    if (errors < 100000) open_connection(c);
}

static void on_event(struct connection *c, unsigned events, int stopping) {
    static char data[262144];
    if (c->state == CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error)
            broken(c);
        else
            begin(c);
        return;
    }
    if (c->state == SENDING_OR_WAITING && c->sent < request_size && (events & EPOLLOUT)) send_on(c);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    ssize_t got = read(c->fd, data, sizeof data);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0 || c->state != SENDING_OR_WAITING) {
        broken(c);
        return;
    }
    unsigned long now = now_us();
    int whole = read_reply(c, data, got, now);
    if (whole < 0) {
        broken(c);
    } else if (whole) {
        done++;
        add(&latency, now - c->begun_us);
        c->state = IDLE;
        if (!stopping) begin(c);
    }
}

static void prepare_request(long prompt, long token_count, long gap_us) {
    char *body = need(malloc((size_t)prompt + 512));
    int size = sprintf(body, "{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"", model_count ? "m-000000" : "mock");
    for (long i = 0; i < prompt; i++) body[size++] = "the quick brown fox "[i % 20];
    size += sprintf(body + size, "\"}],\"max_tokens\":%ld,\"seed\":%ld%s}", token_count, gap_us, streaming ? ",\"stream\":true" : "");
    request_text = need(malloc((size_t)size + 1024));
    request_size = (size_t)sprintf(request_text,
                                   "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: application/json\r\nContent-Type: "
                                   "application/json\r\nAuthorization: Bearer sk-bench-00000000\r\nUser-Agent: bench\r\nContent-Length: %d\r\n\r\n",
                                   port, size);
    key_at = (size_t)(strstr(request_text, "sk-bench-") + 9 - request_text);
    memcpy(request_text + request_size, body, (size_t)size);
    model_at = request_size + strlen("{\"model\":\"m-");
    request_size += (size_t)size;
    free(body);
}

static void report(double seconds) {
    printf("{\"seconds\":%.3f,\"done\":%lu,\"errors\":%lu,\"not_200\":%lu,\"reconnects\":%lu,\"rps\":%.1f", seconds, done, errors, not_200,
           reconnects, (double)done / seconds);
    printf(",\"p50\":%.0f,\"p90\":%.0f,\"p99\":%.0f,\"max\":%lu", quantile(&latency, .5), quantile(&latency, .9), quantile(&latency, .99),
           latency.max);
    if (streaming)
        printf(",\"tokens\":%lu,\"ttft_p50\":%.0f,\"ttft_p99\":%.0f,\"one_way_p50\":%.0f,\"one_way_p99\":%.0f,\"gap_p50\":%.0f,\"gap_p99\":%.0f",
               tokens, quantile(&first_token, .5), quantile(&first_token, .99), quantile(&one_way, .5), quantile(&one_way, .99),
               quantile(&token_gap, .5), quantile(&token_gap, .99));
    printf("}\n");
}

int main(int count, char **arguments) {
    if (count < 4) {
        fprintf(stderr, "usage: %s PORT CONNECTIONS SECONDS [NAME=VALUE ...]\n", arguments[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files = {65536, 65536};
    setrlimit(RLIMIT_NOFILE, &files);
    port = atoi(arguments[1]);
    int connection_count = atoi(arguments[2]), opened = 0;
    double seconds = atof(arguments[3]);
    long prompt = 200, token_count = 64, gap_us = 0, ramp_ms = 100;
    unsigned long wanted = 0;
    for (int i = 4; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        if (!value) {
            fprintf(stderr, "load: expected NAME=VALUE, got %s\n", arguments[i]);
            return 2;
        }
        *value++ = 0;
        long parsed = atol(value);
        if (!strcmp(arguments[i], "prompt")) prompt = parsed;
        else if (!strcmp(arguments[i], "stream")) streaming = (int)parsed;
        else if (!strcmp(arguments[i], "tokens")) token_count = parsed;
        else if (!strcmp(arguments[i], "gap")) gap_us = parsed;
        else if (!strcmp(arguments[i], "requests")) wanted = (unsigned long)parsed;
        else if (!strcmp(arguments[i], "ramp")) ramp_ms = parsed;
        else if (!strcmp(arguments[i], "keys")) key_count = (unsigned)parsed;
        else if (!strcmp(arguments[i], "models")) model_count = (unsigned)parsed;
        else if (!strcmp(arguments[i], "vary")) {
            vary_by_request = !strcmp(value, "request");
            vary_in_turn = !strcmp(value, "turn");
        }
        else {
            fprintf(stderr, "load: no such option: %s\n", arguments[i]);
            return 2;
        }
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    prepare_request(prompt, token_count, gap_us);
    struct connection *connections = need(calloc((size_t)connection_count, sizeof *connections));
    for (int i = 0; i < connection_count; i++) {
        connections[i].number = (unsigned)i * 7919u;
        connections[i].request = need(malloc(request_size));
        memcpy(connections[i].request, request_text, request_size);
        choose(&connections[i], connections[i].number);
    }
    unsigned long start = now_us(), end = start + (unsigned long)((seconds + (double)ramp_ms / 1e3) * 1e6);
    struct epoll_event events[EVENTS];
    for (unsigned long now = start; now < end && (!wanted || done < wanted); now = now_us()) {
        while (opened < connection_count && now - start >= (unsigned long)(ramp_ms * 1000L) * (unsigned long)opened / (unsigned long)connection_count)
            open_connection(&connections[opened++]);
        int ready = epoll_wait(epoll_fd, events, EVENTS, opened < connection_count ? 1 : 50);
        for (int i = 0; i < ready; i++) on_event(events[i].data.ptr, events[i].events, wanted && done + (unsigned long)connection_count > wanted);
    }
    report((double)(now_us() - start) / 1e6);
    return 0;
}
