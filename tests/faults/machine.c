/* What a machine does to a server, on demand: preloaded into it, steered through a page that the test shares with it.

   MACHINE_PAGE names the page (struct page below): how far the wall clock is off, what fsync fails of, and
   at which call the process dies. MACHINE_LOG, if set, names the file that is told of every change below
   MACHINE_ROOT, in the form that tests/faults/power_cut.py reads. Times and waits by the monotonic clock
   stay as they are. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* As `struct.pack("=qiii64s", ...)` writes it. die_at counts down at each call of the named kind on a path that ends in
   die_on; at zero the process is killed before the call (1 fsync, 2 write, 3 rename). */
struct page {
    int64_t clock_offset_ns;
    int32_t fsync_errno;
    int32_t die_kind;
    _Atomic int32_t die_at;
    char die_on[64];
} __attribute__((packed, aligned(8)));

enum { DIE_FSYNC = 1, DIE_WRITE = 2, DIE_RENAME = 3 };

/* A record of the log: this head, then the path, the second path, the data. */
struct record {
    uint32_t bytes;
    uint32_t kind;
    int64_t began_ns, ended_ns;
    uint64_t inode;
    int64_t offset;
    uint32_t path, other, data;
    uint32_t flags;
};

enum { OPENED = 1, WRITTEN, TRUNCATED, SYNCED, FOLDER_SYNCED, RENAMED, UNLINKED };

#define DESCRIPTORS 65536
/* 1: below the root and told of; 2: a folder below it; 0: not. */
static _Atomic unsigned char followed[DESCRIPTORS];
static struct page *page;
static struct page nothing;
static int log_fd = -1;
static char root[PATH_MAX];
static size_t root_length;

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static int64_t now_ns(void) {
    struct timespec t;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

__attribute__((constructor)) static void begin(void) {
    page = &nothing;
    const char *named = getenv("MACHINE_PAGE");
    if (named) {
        int fd = syscall(SYS_openat, AT_FDCWD, named, O_RDWR | O_CLOEXEC);
        void *mapped = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        syscall(SYS_close, fd);
        if (mapped == MAP_FAILED) _exit(97);
        page = mapped;
    }
    const char *log = getenv("MACHINE_LOG"), *below = getenv("MACHINE_ROOT");
    if (log && below && realpath(below, root)) {
        root_length = strlen(root);
        log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    }
}

/* The path without links, below the root: its part after the root's slash; else NULL. */
static const char *below_root(int folder, const char *path, char *whole) {
    char joined[PATH_MAX], parent[PATH_MAX];
    if (path[0] != '/' && folder != AT_FDCWD) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t n = readlink(link, parent, sizeof parent - 1);
        if (n < 0) return NULL;
        parent[n] = 0;
        if (snprintf(joined, sizeof joined, "%s/%s", parent, path) >= (int)sizeof joined) return NULL;
    } else if (path[0] != '/') {
        if (!getcwd(parent, sizeof parent)) return NULL;
        if (snprintf(joined, sizeof joined, "%s/%s", parent, path) >= (int)sizeof joined) return NULL;
    } else if (snprintf(joined, sizeof joined, "%s", path) >= (int)sizeof joined) return NULL;
    /* The last part may not exist any more, or be a link itself: only the folder is resolved. */
    char *last = strrchr(joined, '/');
    if (last == joined) return NULL;
    *last = 0;
    if (!realpath(joined, whole)) return NULL;
    size_t n = strlen(whole);
    snprintf(whole + n, PATH_MAX - n, "/%s", last + 1);
    if (strncmp(whole, root, root_length) != 0) return NULL;
    if (whole[root_length] == 0) return "";
    return whole[root_length] == '/' ? whole + root_length + 1 : NULL;
}

static void tell(uint32_t kind, int64_t began, uint64_t inode, int64_t offset, uint32_t flags, const char *path,
                 const char *other, const void *data, size_t bytes) {
    struct record r = {0};
    r.kind = kind;
    r.began_ns = began;
    r.ended_ns = now_ns();
    r.inode = inode;
    r.offset = offset;
    r.flags = flags;
    r.path = path ? strlen(path) : 0;
    r.other = other ? strlen(other) : 0;
    r.data = bytes;
    r.bytes = sizeof r + r.path + r.other + r.data;
    struct iovec parts[4] = {
        {&r, sizeof r}, {(void *)path, r.path}, {(void *)other, r.other}, {(void *)data, bytes}};
    /* One write at the end of the file: records of many threads and processes never mingle. */
    if (syscall(SYS_writev, log_fd, parts, 4) != (long)r.bytes) _exit(98);
}

static int is_followed(int fd) { return log_fd >= 0 && fd >= 0 && fd < DESCRIPTORS && followed[fd] == 1; }

static uint64_t inode_of(int fd) {
    struct stat s;
    return fstat(fd, &s) == 0 ? s.st_ino : 0;
}

static void maybe_die(int kind, int fd, const char *path) {
    if (page->die_kind != kind || page->die_at <= 0) return;
    char named[PATH_MAX];
    if (!path) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, named, sizeof named - 1);
        if (n < 0) return;
        named[n] = 0;
        path = named;
    }
    size_t n = strlen(path), tail = strnlen(page->die_on, sizeof page->die_on);
    if (n < tail || memcmp(path + n - tail, page->die_on, tail) != 0) return;
    if (atomic_fetch_sub(&page->die_at, 1) == 1) syscall(SYS_kill, getpid(), SIGKILL);
}

/* Opening */

static int opened(int fd, int64_t began, int folder, const char *path, int flags) {
    if (fd < 0 || fd >= DESCRIPTORS) return fd;
    followed[fd] = 0;
    if (log_fd < 0) return fd;
    char whole[PATH_MAX];
    struct stat s;
    int kept = errno;
    const char *inside = below_root(folder, path, whole);
    if (inside && fstat(fd, &s) == 0) {
        if (S_ISDIR(s.st_mode)) followed[fd] = 2;
        else if (S_ISREG(s.st_mode) && (flags & O_ACCMODE) != O_RDONLY) {
            followed[fd] = 1;
            tell(OPENED, began, s.st_ino, s.st_size, (flags & O_TRUNC) != 0, inside, NULL, NULL, 0);
        } else if (S_ISREG(s.st_mode)) followed[fd] = 1;
    }
    errno = kept;
    return fd;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;                                      \
        va_end(more);                                                                                                  \
        int64_t began = now_ns();                                                                                      \
        return opened(syscall(SYS_openat, AT_FDCWD, path, flags, mode), began, AT_FDCWD, path, flags);                 \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                                   \
    int name(int folder, const char *path, int flags, ...) {                                                           \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;                                      \
        va_end(more);                                                                                                  \
        int64_t began = now_ns();                                                                                      \
        return opened(syscall(SYS_openat, folder, path, flags, mode), began, folder, path, flags);                     \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    if (fd == log_fd && fd >= 0) return 0;
    if (fd >= 0 && fd < DESCRIPTORS) followed[fd] = 0;
    return syscall(SYS_close, fd);
}

/* Writing */

static ssize_t written(ssize_t n, int64_t began, int fd, int64_t at, const void *data) {
    if (n > 0 && is_followed(fd)) {
        int kept = errno;
        tell(WRITTEN, began, inode_of(fd), at, 0, NULL, NULL, data, n);
        errno = kept;
    }
    return n;
}

/* Where `n` bytes went that were written at the descriptor's own place. */
static int64_t before_now(int fd, ssize_t n) { return syscall(SYS_lseek, fd, 0, SEEK_CUR) - n; }

ssize_t write(int fd, const void *data, size_t n) {
    if (is_followed(fd) || page->die_kind == DIE_WRITE) maybe_die(DIE_WRITE, fd, NULL);
    int64_t began = now_ns();
    ssize_t done = syscall(SYS_write, fd, data, n);
    return is_followed(fd) && done > 0 ? written(done, began, fd, before_now(fd, done), data) : done;
}

static ssize_t pwritten(int fd, const void *data, size_t n, off_t at) {
    maybe_die(DIE_WRITE, fd, NULL);
    int64_t began = now_ns();
    return written(syscall(SYS_pwrite64, fd, data, n, at), began, fd, at, data);
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return pwritten(fd, data, n, at); }
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) { return pwritten(fd, data, n, at); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!is_followed(fd)) return syscall(SYS_writev, fd, parts, count);
    ssize_t all = 0;
    for (int i = 0; i < count; i++) {
        ssize_t n = write(fd, parts[i].iov_base, parts[i].iov_len);
        if (n < 0) return all ? all : n;
        all += n;
        if ((size_t)n < parts[i].iov_len) break;
    }
    return all;
}

static int truncated(int fd, off_t length) {
    int64_t began = now_ns();
    int done = syscall(SYS_ftruncate, fd, length);
    if (done == 0 && is_followed(fd)) tell(TRUNCATED, began, inode_of(fd), length, 0, NULL, NULL, NULL, 0);
    return done;
}
int ftruncate(int fd, off_t length) { return truncated(fd, length); }
int ftruncate64(int fd, off64_t length) { return truncated(fd, length); }

/* A road past `write` that this record does not follow: callers take another one when it is refused. */
ssize_t copy_file_range(int a, off64_t *b, int c, off64_t *d, size_t n, unsigned flags) {
    if (log_fd < 0) return syscall(SYS_copy_file_range, a, b, c, d, n, flags);
    errno = EXDEV;
    return -1;
}

/* Flushing */

static int synced(long number, int fd) {
    if (page->fsync_errno) {
        errno = page->fsync_errno;
        return -1;
    }
    maybe_die(DIE_FSYNC, fd, NULL);
    int64_t began = now_ns();
    int done = syscall(number, fd);
    if (done == 0 && log_fd >= 0 && fd >= 0 && fd < DESCRIPTORS && followed[fd]) {
        if (followed[fd] == 1) tell(SYNCED, began, inode_of(fd), 0, 0, NULL, NULL, NULL, 0);
        else {
            char link[64], whole[PATH_MAX];
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            ssize_t n = readlink(link, whole, sizeof whole - 1);
            if (n >= (ssize_t)root_length) {
                whole[n] = 0;
                tell(FOLDER_SYNCED, began, 0, 0, 0, whole[root_length] ? whole + root_length + 1 : "", NULL, NULL, 0);
            }
        }
    }
    return done;
}
int fsync(int fd) { return synced(SYS_fsync, fd); }
int fdatasync(int fd) { return synced(SYS_fdatasync, fd); }

/* Names */

static int renamed(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    char a[PATH_MAX], b[PATH_MAX];
    maybe_die(DIE_RENAME, -1, to);
    int64_t began = now_ns();
    int done = syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    if (done == 0 && log_fd >= 0) {
        const char *of = below_root(from_folder, from, a), *into = below_root(to_folder, to, b);
        if (of && into) tell(RENAMED, began, 0, 0, 0, of, into, NULL, 0);
    }
    return done;
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return renamed(a, from, b, to, flags); }

static int unlinked(int folder, const char *path, int flags) {
    int64_t began = now_ns();
    int done = syscall(SYS_unlinkat, folder, path, flags);
    if (done == 0 && log_fd >= 0) {
        char whole[PATH_MAX];
        const char *inside = below_root(folder, path, whole);
        if (inside) tell(UNLINKED, began, 0, 0, 0, inside, NULL, NULL, 0);
    }
    return done;
}
int unlink(const char *path) { return unlinked(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return unlinked(folder, path, flags); }

/* The wall clock */

static void shift(struct timespec *t) {
    int64_t ns = (int64_t)t->tv_sec * 1000000000 + t->tv_nsec + page->clock_offset_ns;
    t->tv_sec = ns / 1000000000;
    t->tv_nsec = ns % 1000000000;
}
int clock_gettime(clockid_t which, struct timespec *t) {
    static __typeof__(&clock_gettime) own;
    if (!own) own = REAL(clock_gettime);
    int done = own(which, t);
    if (done == 0 && page && page->clock_offset_ns && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) shift(t);
    return done;
}
int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    struct timespec s;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &s);
    if (t) {
        t->tv_sec = s.tv_sec;
        t->tv_usec = s.tv_nsec / 1000;
    }
    return 0;
}
time_t time(time_t *t) {
    struct timespec s;
    clock_gettime(CLOCK_REALTIME, &s);
    if (t) *t = s.tv_sec;
    return s.tv_sec;
}
