/* Lets calls fail as they do on file systems that lack them: $FAULT_LINK, $FAULT_FLOCK, $FAULT_MMAP, $FAULT_FSYNC,
   $FAULT_WRITE and $FAULT_OPEN are error numbers, $FAULT_BELOW the folder for which they hold (files that are open: by their place). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

static int wanted(const char *name) {
    const char *value = getenv(name);
    return value ? atoi(value) : 0;
}

static int below(const char *path) {
    const char *folder = getenv("FAULT_BELOW");
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int open_below(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL(variable, affected)                 \
    do {                                         \
        int number = wanted(variable);           \
        if (number && (affected)) {              \
            errno = number;                      \
            return -1;                           \
        }                                        \
    } while (0)

int link(const char *from, const char *to) {
    FAIL("FAULT_LINK", below(to));
    return REAL(link)(from, to);
}

int linkat(int old, const char *from, int new, const char *to, int flags) {
    FAIL("FAULT_LINK", below(to));
    return REAL(linkat)(old, from, new, to, flags);
}

int flock(int descriptor, int operation) {
    if (wanted("FAULT_FLOCK") < 0 && open_below(descriptor)) return 0; /* a lock that excludes nobody */
    FAIL("FAULT_FLOCK", open_below(descriptor));
    return REAL(flock)(descriptor, operation);
}

int fsync(int descriptor) {
    FAIL("FAULT_FSYNC", open_below(descriptor));
    return REAL(fsync)(descriptor);
}

ssize_t write(int descriptor, const void *content, size_t length) {
    FAIL("FAULT_WRITE", length && open_below(descriptor));
    return REAL(write)(descriptor, content, length);
}

void *mmap(void *start, size_t length, int protection, int flags, int descriptor, off_t offset) {
    int number = wanted("FAULT_MMAP");
    if (number && descriptor >= 0 && open_below(descriptor)) {
        errno = number;
        return MAP_FAILED;
    }
    return REAL(mmap)(start, length, protection, flags, descriptor, offset);
}

void *mmap64(void *start, size_t length, int protection, int flags, int descriptor, off64_t offset) {
    return mmap(start, length, protection, flags, descriptor, offset);
}

static int stale(const char *path) {
    const char *name = getenv("FAULT_OPEN_NAME");
    return below(path) && (!name || strstr(path, name));
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    FAIL("FAULT_OPEN", stale(path));
    return REAL(open64)(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    FAIL("FAULT_OPEN", stale(path));
    return REAL(open)(path, flags, mode);
}
