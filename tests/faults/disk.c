/* A disk that loses power: preloaded into a process, it writes down what the process writes into files below one folder, with
 * what was there before, and which of it was synced. After the process was killed, whoever reads that can put the files into
 * any state that a power cut could have left: each page with some of its writes that no sync covered, or none.
 *
 * BERTH_DISK_FOLDER  the folder, an absolute path
 * BERTH_DISK_LOG     the file that is written; a file of this name with ".eio" behind it makes writes and syncs fail from then on
 *
 * A record of the log: one byte of kind ('w' write, 's' sync), then u32 length of the path, u64 offset and u64 length of the write,
 * u64 length of what was there before (less, if the file ended in it), the path, what was there before; numbers as the machine has
 * them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_file = -1;

/* The path of a file below the folder, or nothing for any other. */
static const char *watched(int fd, char path[4096]) {
    const char *folder = getenv("BERTH_DISK_FOLDER");
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, 4095);
    if (folder == NULL || length < 0) {
        return NULL;
    }
    path[length] = 0;
    size_t prefix = strlen(folder);
    return strncmp(path, folder, prefix) == 0 && path[prefix] == '/' ? path : NULL;
}

static int broken(void) {
    char path[4096];
    const char *log = getenv("BERTH_DISK_LOG");
    snprintf(path, sizeof path, "%s.eio", log == NULL ? "" : log);
    return log != NULL && access(path, F_OK) == 0;
}

static void record(char kind, const char *path, uint64_t offset, uint64_t written, const char *before, uint64_t length) {
    if (log_file < 0) {
        log_file = open(getenv("BERTH_DISK_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    uint32_t path_length = strlen(path);
    char head[29];
    head[0] = kind;
    memcpy(head + 1, &path_length, 4);
    memcpy(head + 5, &offset, 8);
    memcpy(head + 13, &written, 8);
    memcpy(head + 21, &length, 8);
    struct iovec parts[] = {{head, sizeof head}, {(void *)path, path_length}, {(void *)before, length}};
    if (REAL(writev)(log_file, parts, 3) != (ssize_t)(sizeof head + path_length + length)) {
        fprintf(stderr, "cannot write BERTH_DISK_LOG\n");
        abort();
    }
}

/* Notes what is in a part of a file that is about to change. */
static void note(int fd, const char *path, off_t offset, size_t length) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    /* What was opened for writing alone is read through another descriptor. */
    int reader = open(link, O_RDONLY | O_CLOEXEC);
    char *before = malloc(length + 1);
    ssize_t there = reader < 0 ? 0 : pread(reader, before, length, offset);
    record('w', path, offset, length, before, there < 0 ? 0 : there);
    free(before);
    if (reader >= 0) {
        close(reader);
    }
}

#define CHANGE(offset, length, call)                  \
    do {                                              \
        char buffer[4096];                            \
        const char *path = watched(fd, buffer);       \
        if (path == NULL) {                           \
            return call;                              \
        }                                             \
        if (broken()) {                               \
            errno = EIO;                              \
            return -1;                                \
        }                                             \
        pthread_mutex_lock(&lock);                    \
        note(fd, path, offset, length);               \
        __typeof__(call) result = call;               \
        int error = errno;                            \
        pthread_mutex_unlock(&lock);                  \
        errno = error;                                \
        return result;                                \
    } while (0)

static off_t position(int fd) {
    return fcntl(fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    CHANGE(offset, count, REAL(pwrite64)(fd, bytes, count, offset));
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    CHANGE(offset, count, REAL(pwrite)(fd, bytes, count, offset));
}

ssize_t write(int fd, const void *bytes, size_t count) {
    CHANGE(position(fd), count, REAL(write)(fd, bytes, count));
}

static size_t total(const struct iovec *parts, int count) {
    size_t sum = 0;
    for (int part = 0; part < count; part++) {
        sum += parts[part].iov_len;
    }
    return sum;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    CHANGE(position(fd), total(parts, count), REAL(writev)(fd, parts, count));
}

static size_t behind(int fd, off_t end) {
    struct stat found;
    return fstat(fd, &found) == 0 && found.st_size > end ? found.st_size - end : 0;
}

int ftruncate64(int fd, off64_t end) {
    CHANGE(end, behind(fd, end), REAL(ftruncate64)(fd, end));
}

int ftruncate(int fd, off_t end) {
    CHANGE(end, behind(fd, end), REAL(ftruncate)(fd, end));
}

/* What is written down as synced need not be on the machine's own disk. */
#define SYNC(call)                                    \
    do {                                              \
        char buffer[4096];                            \
        const char *path = watched(fd, buffer);       \
        if (path == NULL) {                           \
            return call;                              \
        }                                             \
        if (broken()) {                               \
            errno = EIO;                              \
            return -1;                                \
        }                                             \
        pthread_mutex_lock(&lock);                    \
        record('s', path, 0, 0, "", 0);                  \
        pthread_mutex_unlock(&lock);                  \
        return 0;                                     \
    } while (0)

int fdatasync(int fd) { SYNC(REAL(fdatasync)(fd)); }

int fsync(int fd) { SYNC(REAL(fsync)(fd)); }
