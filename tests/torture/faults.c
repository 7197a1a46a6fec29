/* Counts what a process does to files below a folder, and harms it at the n-th time. Loaded by LD_PRELOAD.

   Everything that changes files counts: opening to write, writing, syncing, renaming, linking, removing,
   making folders. It is seen wherever it comes from: Python, GDAL, SQLite, Arrow. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, FULL, BROKEN, VANISH };

static char root[PATH_MAX];
static long at, done;
static int mode;
static __thread int inside;

/* Begin to count below `folder`; at operation number `number` (from 1) do what `what` says; 0 = never. */
void torture_arm(const char *folder, long number, int what)
{
    strncpy(root, folder, sizeof root - 1);
    at = number;
    mode = what;
    done = 0;
}

long torture_count(void) { return done; }

static int below(const char *path)
{
    char full[PATH_MAX];
    if (!root[0] || !path) return 0;
    if (path[0] != '/') {
        if (!getcwd(full, sizeof full - 1)) return 0;
        strncat(full, "/", sizeof full - strlen(full) - 1);
        strncat(full, path, sizeof full - strlen(full) - 1);
        path = full;
    }
    return strncmp(path, root, strlen(root)) == 0;
}

static int below_fd(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return below(path);
}

/* Whether the operation must fail; `takes_room`: a full disk refuses it. */
static int harm(int counts, int takes_room)
{
    if (!counts || inside) return 0;
    long n = __sync_add_and_fetch(&done, 1);
    if (!at || n < at) return 0;
    if (mode == KILL && n == at) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    if (mode == FULL && takes_room) { /* from then on: a full disk stays full */
        errno = ENOSPC;
        return 1;
    }
    if (mode == BROKEN && n == at) {
        errno = EIO;
        return 1;
    }
    if (mode == VANISH && n == at) {
        char gone[PATH_MAX + 8];
        snprintf(gone, sizeof gone, "%s.gone", root);
        syscall(SYS_rename, root, gone);
    }
    return 0;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY || ((flags) & (O_CREAT | O_TRUNC)))

#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        va_list list; \
        va_start(list, flags); \
        mode_t rights = va_arg(list, mode_t); \
        va_end(list); \
        REAL(name); \
        if (WRITES(flags) && harm(below(path), flags & O_CREAT)) return -1; \
        return real(path, flags, rights); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) \
    { \
        va_list list; \
        va_start(list, flags); \
        mode_t rights = va_arg(list, mode_t); \
        va_end(list); \
        REAL(name); \
        if (WRITES(flags) && harm(path[0] == '/' ? below(path) : below_fd(folder), flags & O_CREAT)) return -1; \
        return real(folder, path, flags, rights); \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name) \
    FILE *name(const char *path, const char *how) \
    { \
        REAL(name); \
        if (strpbrk(how, "wa+") && harm(below(path), 1)) return NULL; \
        return real(path, how); \
    }
FOPEN(fopen)
FOPEN(fopen64)

size_t fwrite(const void *data, size_t size, size_t n, FILE *file)
{
    REAL(fwrite);
    if (harm(below_fd(fileno(file)), 1)) return 0;
    return real(data, size, n, file);
}

#define CALL(type, name, args, names, counts, room) \
    type name args \
    { \
        REAL(name); \
        if (harm(counts, room)) return -1; \
        return real names; \
    }
CALL(ssize_t, write, (int fd, const void *data, size_t n), (fd, data, n), below_fd(fd), 1)
CALL(ssize_t, pwrite, (int fd, const void *data, size_t n, off_t off), (fd, data, n, off), below_fd(fd), 1)
CALL(ssize_t, pwrite64, (int fd, const void *data, size_t n, off64_t off), (fd, data, n, off), below_fd(fd), 1)
CALL(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n), below_fd(fd), 1)
CALL(ssize_t, sendfile, (int out, int in, off_t *off, size_t n), (out, in, off, n), below_fd(out), 1)
CALL(ssize_t, sendfile64, (int out, int in, off64_t *off, size_t n), (out, in, off, n), below_fd(out), 1)
CALL(ssize_t, copy_file_range, (int a, off64_t *x, int b, off64_t *y, size_t n, unsigned f), (a, x, b, y, n, f),
     below_fd(b), 1)
CALL(int, ftruncate, (int fd, off_t n), (fd, n), below_fd(fd), 0)
CALL(int, ftruncate64, (int fd, off64_t n), (fd, n), below_fd(fd), 0)
CALL(int, truncate, (const char *path, off_t n), (path, n), below(path), 0)
CALL(int, fsync, (int fd), (fd), below_fd(fd), 1)
CALL(int, fdatasync, (int fd), (fd), below_fd(fd), 1)
CALL(int, syncfs, (int fd), (fd), below_fd(fd), 1)
CALL(int, rename, (const char *a, const char *b), (a, b), below(a) || below(b), 0)
CALL(int, renameat, (int x, const char *a, int y, const char *b), (x, a, y, b), below(a) || below(b), 0)
CALL(int, unlink, (const char *path), (path), below(path), 0)
CALL(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags),
     path[0] == '/' ? below(path) : below_fd(fd), 0)
CALL(int, rmdir, (const char *path), (path), below(path), 0)
CALL(int, remove, (const char *path), (path), below(path), 0)
CALL(int, mkdir, (const char *path, mode_t rights), (path, rights), below(path), 1)
CALL(int, mkdirat, (int fd, const char *path, mode_t rights), (fd, path, rights),
     path[0] == '/' ? below(path) : below_fd(fd), 1)
CALL(int, link, (const char *a, const char *b), (a, b), below(b), 1)
CALL(int, linkat, (int x, const char *a, int y, const char *b, int f), (x, a, y, b, f), below(b), 1)
CALL(int, symlink, (const char *a, const char *b), (a, b), below(b), 1)
