/* The floor: every file and directory that a first run of the engine must open, opened and read, and nothing else.

   floor <root>/docker/registry/v2 [<processes>]

   Several processes share the repositories and the shards of blobs among them: where the storage makes one wait, most
   of the time of one is spent so.
*/
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static long opened;
static int v2;
static int processes = 1, mine = 0, turn = 0;

static void fail(const char *what) { perror(what); exit(1); }

/* Opens, stats and reads a file; what it begins with is left in `start`. */
static int read_file(int dir, const char *path, char *start, int size) {
    int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) { if (errno == ENOENT) return -1; fail(path); }
    struct stat status;
    if (fstat(fd, &status)) fail(path);
    int got = read(fd, start, size);
    close(fd);
    opened++;
    return got;
}

static void read_manifest(const char *hex) {
    static char content[16384];
    char path[160];
    snprintf(path, sizeof path, "blobs/sha256/%.2s/%s/data", hex, hex);
    read_file(v2, path, content, sizeof content);
}

/* Calls `each`, if any, with the descriptor and every name of a directory. */
static void list(int dir, const char *path, void (*each)(int, const char *)) {
    int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) { if (errno == ENOENT) return; fail(path); }
    DIR *stream = fdopendir(fd);
    struct dirent *entry;
    while ((entry = readdir(stream))) {
        if (entry->d_name[0] != '.' && each) each(fd, entry->d_name);
    }
    closedir(stream);
    opened++;
}

static int is_mine(void) { return turn++ % processes == mine; }

static void tag(int dir, const char *name) {
    char path[300], link[128];
    snprintf(path, sizeof path, "%s/current/link", name);
    read_file(dir, path, link, sizeof link);
}

static void revision(int dir, const char *name) {
    char path[300], link[128];
    snprintf(path, sizeof path, "%s/link", name);
    if (read_file(dir, path, link, sizeof link) > 0) read_manifest(name);
}

static void repositories(int dir, const char *name) {
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) { if (errno == ENOTDIR) return; fail(name); }
    if (is_mine()) {
        list(fd, "_manifests/tags", tag);
        list(fd, "_manifests/revisions/sha256", revision);
        list(fd, "_layers/sha256", NULL);
    }
    DIR *stream = fdopendir(fd);
    struct dirent *entry;
    while ((entry = readdir(stream))) {
        if (entry->d_name[0] != '.' && entry->d_name[0] != '_') repositories(fd, entry->d_name);
    }
    closedir(stream);
    opened++;
}

static void shard(int dir, const char *name) { if (is_mine()) list(dir, name, NULL); }

int main(int count, char **arguments) {
    if (count < 2 || (v2 = open(arguments[1], O_RDONLY | O_DIRECTORY)) < 0) fail("floor");
    if (count > 2) processes = atoi(arguments[2]);
    for (int child = 1; child < processes && !mine; child++) {
        pid_t pid = fork();
        if (pid < 0) fail("fork");
        if (!pid) mine = child;
    }
    repositories(v2, "repositories");
    list(v2, "blobs/sha256", shard);
    if (mine) return 0;
    for (int status; wait(&status) > 0;) if (status) return 1;
    printf("%ld\n", opened);
    return 0;
}
