// SPDX-License-Identifier: Apache-2.0
// A mock engine for benchmarks: one epoll thread, HTTP/1.1 with keep-alive, OpenAI's JSON and server-sent events.
//
//   bench_engine COUNT [MODELS [spread]]
//
// Listens on COUNT ports of 127.0.0.1 chosen by the kernel and prints HOST:PORT of each on one line, separated by spaces; with "spread" on one
// port of COUNT addresses (127.1.0.1, 127.1.0.2, ...), as pods have it. GET /v1/models names "mock" and this engine's share of MODELS more
// ("m-000000", ...), each model at four engines. It ends when its standard input does.
//
// The request's body steers the answer, by fields that every gateway passes on:
//   "max_tokens": N   tokens of a stream
//   "seed": U         microseconds between a stream's tokens, or before a plain reply
//   "stream": true    server-sent events
// Each token's text is " t" and the monotonic clock's microseconds in 16 digits, so that a client can time every token's way.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_LISTENERS = 1024, MAX_REQUEST = 64 << 20, EVENTS = 512, OUT_BYTES = 8192, COPIES_OF_A_MODEL = 4 };

struct connection {
    int fd;
    int listener;     // index of the port it came by
    int writable_too; // whether epoll watches for room to write
    int streaming;    // a stream is under way
    int busy;         // an answer is under way
    long tokens_left;
    long gap_us;
    unsigned long due_us;
    int heap_place; // -1: not in the heap of timers
    char *in;
    size_t in_size, in_room;
    char out[OUT_BYTES];
    size_t out_size, out_sent;
};

struct listener {
    int fd;
};

static struct listener listeners[MAX_LISTENERS];
static int listener_count, model_count, epoll_fd, spread_port;

static unsigned long now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned long)now.tv_sec * 1000000UL + (unsigned long)now.tv_nsec / 1000;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void *need(void *memory) {
    if (!memory) die("memory");
    return memory;
}

// --- timers: a binary heap by due time

static struct connection **heap;
static int heap_size, heap_room;

static void swap(int a, int b) {
    struct connection *kept = heap[a];
    heap[a] = heap[b];
    heap[b] = kept;
    heap[a]->heap_place = a;
    heap[b]->heap_place = b;
}

static void sift(int place) {
    while (place && heap[(place - 1) / 2]->due_us > heap[place]->due_us) {
        swap(place, (place - 1) / 2);
        place = (place - 1) / 2;
    }
    for (;;) {
        int left = 2 * place + 1, least = place;
        if (left < heap_size && heap[left]->due_us < heap[least]->due_us) least = left;
        if (left + 1 < heap_size && heap[left + 1]->due_us < heap[least]->due_us) least = left + 1;
        if (least == place) return;
        swap(place, least);
        place = least;
    }
}

static void timer_set(struct connection *c, unsigned long due_us) {
    c->due_us = due_us;
    if (c->heap_place < 0) {
        if (heap_size == heap_room) {
            heap_room = heap_room ? heap_room * 2 : 1024;
            heap = need(realloc(heap, (size_t)heap_room * sizeof *heap));
        }
        c->heap_place = heap_size;
        heap[heap_size++] = c;
    }
    sift(c->heap_place);
}

static void timer_clear(struct connection *c) {
    int place = c->heap_place;
    if (place < 0) return;
    c->heap_place = -1;
    heap_size--;
    if (place != heap_size) {
        heap[place] = heap[heap_size];
        heap[place]->heap_place = place;
        sift(place);
    }
}

// --- connections

static void drop(struct connection *c) {
    timer_clear(c);
    close(c->fd);
    free(c->in);
    free(c);
}

static void watch(struct connection *c, int writable_too) {
    if (writable_too == c->writable_too) return;
    c->writable_too = writable_too;
    struct epoll_event event = {.events = EPOLLIN | (writable_too ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

// 0: all sent, 1: the socket is full, -1: the connection is dead
static int flush_out(struct connection *c) {
    while (c->out_sent < c->out_size) {
        ssize_t sent = write(c->fd, c->out + c->out_sent, c->out_size - c->out_sent);
        if (sent < 0) {
            if (errno != EAGAIN) return -1;
            watch(c, 1);
            return 1;
        }
        c->out_sent += (size_t)sent;
    }
    c->out_size = c->out_sent = 0;
    watch(c, 0);
    return 0;
}

__attribute__((format(printf, 2, 3))) static void put(struct connection *c, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(c->out + c->out_size, OUT_BYTES - c->out_size, format, arguments);
    va_end(arguments);
    if (size < 0 || c->out_size + (size_t)size >= OUT_BYTES) {
        fprintf(stderr, "engine: output buffer too small\n");
        exit(1);
    }
    c->out_size += (size_t)size;
}

static void put_chunk(struct connection *c, const char *text) { put(c, "%zx\r\n%s\r\n", strlen(text), text); }

static void put_reply(struct connection *c, const char *json) {
    put(c,
        "HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 00:00:00 GMT\r\nserver: uvicorn\r\ncontent-length: %zu\r\n"
        "content-type: application/json\r\n\r\n%s",
        strlen(json), json);
}

// --- answers

#define EVENT_HEAD "data: {\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1763800000,\"model\":\"mock\","

static void put_completion(struct connection *c) {
    put_reply(c,
              "{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion\",\"created\":1763800000,\"model\":\"mock\",\"choices\":["
              "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"The quick brown fox jumps over the lazy dog. The quick "
              "brown fox jumps over the lazy dog. The quick brown fox jumps over the lazy dog. The quick brown fox jumps over the lazy "
              "dog.\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":64,\"completion_tokens\":64,"
              "\"total_tokens\":128}}");
    c->busy = 0;
}

static void put_token(struct connection *c) {
    char event[400];
    snprintf(event, sizeof event,
             EVENT_HEAD "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" t%016lu\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
             now_us());
    put_chunk(c, event);
    c->tokens_left--;
}

static void put_stream_end(struct connection *c) {
    put_chunk(c, EVENT_HEAD "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n");
    put_chunk(c, EVENT_HEAD
              "\"choices\":[],\"usage\":{\"prompt_tokens\":64,\"completion_tokens\":64,\"total_tokens\":128}}\n\n");
    put_chunk(c, "data: [DONE]\n\n");
    put(c, "0\r\n\r\n");
    c->busy = c->streaming = 0;
}

static void put_models(struct connection *c) {
    static char json[OUT_BYTES - 512];
    size_t size = (size_t)snprintf(json, sizeof json, "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\",\"owned_by\":\"vllm\",\"max_model_len\":8192}");
    for (int model = 0; model < model_count; model++) {
        int distance = (c->listener - model % listener_count + listener_count) % listener_count;
        if (distance < COPIES_OF_A_MODEL && size + 80 < sizeof json)
            size += (size_t)snprintf(json + size, sizeof json - size, ",{\"id\":\"m-%06d\",\"object\":\"model\"}", model);
    }
    snprintf(json + size, sizeof json - size, "]}");
    put_reply(c, json);
    c->busy = 0;
}

static long number(const char *body, const char *name, long otherwise) {
    const char *found = strstr(body, name);
    if (!found) return otherwise;
    found += strlen(name);
    while (*found == ' ' || *found == ':' || *found == '"') found++;
    return strtol(found, NULL, 10);
}

static int is_stream(const char *body) {
    const char *found = strstr(body, "\"stream\"");
    if (!found) return 0;
    found += strlen("\"stream\"");
    while (*found == ' ' || *found == ':') found++;
    return *found == 't';
}

static int serve(struct connection *c);

// Emit what is due of a stream. -1: the connection is dead.
static int stream_on(struct connection *c) {
    for (;;) {
        if (c->tokens_left > 0) put_token(c);
        if (c->tokens_left <= 0) put_stream_end(c);
        int full = flush_out(c);
        if (full < 0) return -1;
        if (!c->busy) return full ? 0 : serve(c);
        if (full) return 0; // goes on when there is room
        if (c->gap_us) {
            timer_set(c, c->due_us + (unsigned long)c->gap_us);
            return 0;
        }
    }
}

static void answer(struct connection *c, const char *head, const char *body) {
    c->busy = 1;
    if (strncmp(head, "POST /v1/chat/completions", 25) && strncmp(head, "POST /v1/completions", 20)) {
        if (strstr(head, "/models")) {
            put_models(c);
        } else if (!strncmp(head, "GET /metrics", 12)) {
            put(c, "HTTP/1.1 200 OK\r\ncontent-length: 61\r\ncontent-type: text/plain\r\n\r\n"
                   "vllm:num_requests_running 1\nvllm:num_requests_waiting 0\n# end\n");
            c->busy = 0;
        } else {
            put_reply(c, "{\"status\":\"ok\"}");
            c->busy = 0;
        }
        return;
    }
    c->gap_us = number(body, "\"seed\"", 0);
    if (is_stream(body)) {
        c->streaming = 1;
        c->tokens_left = number(body, "\"max_tokens\"", 64);
        put(c, "HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 00:00:00 GMT\r\nserver: uvicorn\r\n"
               "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n");
        c->due_us = now_us();
    } else if (c->gap_us) {
        timer_set(c, now_us() + (unsigned long)c->gap_us);
    } else {
        put_completion(c);
    }
}

// Where the first request in the buffer ends, and its body begins; 0: not all there yet.
static size_t whole_request(struct connection *c, size_t *body) {
    c->in[c->in_size] = 0;
    char *blank = memmem(c->in, c->in_size, "\r\n\r\n", 4);
    if (!blank) return 0;
    *body = (size_t)(blank + 4 - c->in);
    *blank = 0;
    char *length = strcasestr(c->in, "\r\ncontent-length:");
    int chunked = !length && strcasestr(c->in, "\r\ntransfer-encoding: chunked") != NULL;
    size_t size = length ? strtoul(length + 17, NULL, 10) : 0;
    *blank = '\r';
    if (chunked) {
        char *end = memmem(c->in + *body, c->in_size - *body, "0\r\n\r\n", 5);
        return end ? (size_t)(end + 5 - c->in) : 0;
    }
    return c->in_size >= *body + size ? *body + size : 0;
}

// Answer all requests that are in. -1: the connection is dead.
static int serve(struct connection *c) {
    while (!c->busy && !c->out_size && c->in_size) {
        size_t body, end = whole_request(c, &body);
        if (!end) return 0;
        char kept = c->in[end];
        c->in[end] = 0;
        c->in[body - 1] = 0; // the head ends here
        answer(c, c->in, c->in + body);
        c->in[end] = kept;
        memmove(c->in, c->in + end, c->in_size - end);
        c->in_size -= end;
        if (c->streaming) return stream_on(c);
        if (flush_out(c) < 0) return -1;
    }
    return 0;
}

static int take_in(struct connection *c) {
    for (;;) {
        if (c->in_size == c->in_room) {
            if (c->in_room >= MAX_REQUEST) return -1;
            c->in_room *= 2;
            c->in = need(realloc(c->in, c->in_room + 1));
        }
        size_t room = c->in_room - c->in_size;
        ssize_t got = read(c->fd, c->in + c->in_size, room);
        if (got == 0 || (got < 0 && errno != EAGAIN)) return -1;
        if (got < 0) return 0;
        c->in_size += (size_t)got;
        if ((size_t)got < room) return 0;
    }
}

static void welcome(int index) {
    for (;;) {
        int fd = accept4(listeners[index].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
        if (fd < 0) return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *c = need(calloc(1, sizeof *c));
        c->fd = fd;
        c->listener = index;
        c->heap_place = -1;
        c->in_room = 4096;
        c->in = need(malloc(c->in_room + 1));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static void on_event(struct connection *c, unsigned events) {
    int dead = 0;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) dead = take_in(c) < 0 || serve(c) < 0;
    if (!dead && (events & EPOLLOUT)) {
        int full = flush_out(c);
        if (full < 0)
            dead = 1;
        else if (!full)
            dead = (c->busy && c->streaming && c->heap_place < 0 ? stream_on(c) : serve(c)) < 0;
    }
    if (dead) drop(c);
}

static void fire_timers(void) {
    unsigned long now = now_us();
    while (heap_size && heap[0]->due_us <= now) {
        struct connection *c = heap[0];
        timer_clear(c);
        int dead;
        if (c->streaming) {
            dead = stream_on(c) < 0;
        } else {
            put_completion(c);
            dead = flush_out(c) < 0 || serve(c) < 0;
        }
        if (dead) drop(c);
    }
}

static void listen_on_a_port(int index, int spread) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    unsigned pod = 0x7f010000u + (unsigned)(index / 250 << 8) + (unsigned)(index % 250) + 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(spread ? pod : INADDR_LOOPBACK)};
    address.sin_port = htons((unsigned short)spread_port);
    socklen_t size = sizeof address;
    if (fd < 0 || bind(fd, (void *)&address, size) || listen(fd, 4096) || getsockname(fd, (void *)&address, &size)) die("listen");
    listeners[index].fd = fd;
    if (spread) spread_port = ntohs(address.sin_port);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listeners[index]};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    printf("%s%s:%d", index ? " " : "", inet_ntoa(address.sin_addr), ntohs(address.sin_port));
}

int main(int count, char **arguments) {
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files = {65536, 65536};
    setrlimit(RLIMIT_NOFILE, &files);
    listener_count = count > 1 ? atoi(arguments[1]) : 0;
    model_count = count > 2 ? atoi(arguments[2]) : 0;
    if (listener_count < 1 || listener_count > MAX_LISTENERS) {
        fprintf(stderr, "usage: %s COUNT [MODELS [spread]]   (COUNT from 1 to %d)\n", arguments[0], MAX_LISTENERS);
        return 2;
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int index = 0; index < listener_count; index++) listen_on_a_port(index, count > 3 && !strcmp(arguments[3], "spread"));
    printf("\n");
    fflush(stdout);
    struct epoll_event stdin_event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &stdin_event);
    struct epoll_event events[EVENTS];
    for (;;) {
        struct timespec wait = {0}, *limit = NULL;
        if (heap_size) {
            unsigned long now = now_us(), due = heap[0]->due_us;
            if (due > now) {
                wait.tv_sec = (time_t)((due - now) / 1000000);
                wait.tv_nsec = (long)((due - now) % 1000000 * 1000);
            }
            limit = &wait;
        }
        int ready = epoll_pwait2(epoll_fd, events, EVENTS, limit, NULL);
        for (int i = 0; i < ready; i++) {
            void *source = events[i].data.ptr;
            char byte[64];
            if (!source) {
                if (read(STDIN_FILENO, byte, sizeof byte) <= 0) return 0;
            } else if (source >= (void *)listeners && source < (void *)(listeners + MAX_LISTENERS)) {
                welcome((int)((struct listener *)source - listeners));
            } else {
                on_event(source, events[i].events);
            }
        }
        fire_timers();
    }
}
