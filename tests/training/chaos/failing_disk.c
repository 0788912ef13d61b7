/* A disk that refuses: what is written, flushed or renamed below DISK_FOLDER fails with the errno that the file
 * DISK_ERRNO holds, as long as there is such a file. Loaded into processes by LD_PRELOAD.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_below(const char *path) {
    const char *folder = getenv("DISK_FOLDER");
    return folder != NULL && path != NULL && strncmp(path, folder, strlen(folder)) == 0;
}

static int refusal(void) {
    const char *name = getenv("DISK_ERRNO");
    int number = 0;
    FILE *file = name == NULL ? NULL : fopen(name, "r");
    if (file != NULL) {
        if (fscanf(file, "%d", &number) != 1) number = 0;
        fclose(file);
    }
    return number;
}

static int refuses(int descriptor) {
    char link[64], path[PATH_MAX];
    int before = errno, number = 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length > 0) {
        path[length] = '\0';
        if (is_below(path)) number = refusal();
    }
    errno = number ? number : before;
    return number;
}

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

ssize_t write(int descriptor, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (real == NULL) real = REAL("write", ssize_t (*)(int, const void *, size_t));
    return refuses(descriptor) ? -1 : real(descriptor, bytes, count);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    static ssize_t (*real)(int, const struct iovec *, int);
    if (real == NULL) real = REAL("writev", ssize_t (*)(int, const struct iovec *, int));
    return refuses(descriptor) ? -1 : real(descriptor, parts, count);
}

int fsync(int descriptor) {
    static int (*real)(int);
    if (real == NULL) real = REAL("fsync", int (*)(int));
    return refuses(descriptor) ? -1 : real(descriptor);
}

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    if (real == NULL) real = REAL("rename", int (*)(const char *, const char *));
    int number = is_below(to) ? refusal() : 0;
    if (number) errno = number;
    return number ? -1 : real(from, to);
}
