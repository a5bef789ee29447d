/*
 * What a test cannot have of the machine it runs on: a clock that is synchronised or is not, and a slow disk. Loaded
 * before the C library; the file that MACHINE names holds two 64-bit numbers that say how it is while the process runs:
 * whether the clock is synchronised, and the milliseconds that making data durable takes besides.
 *
 * adjtimex is answered here and does not reach the kernel: whether that machine's clock is right is another matter.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

struct machine { int64_t synchronised, slow; };

static volatile struct machine *machine;

__attribute__((constructor)) static void open_machine(void)
{
    const char *path = getenv("MACHINE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof *machine, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) machine = mapped;
}

int adjtimex(struct timex *told)
{
    memset(told, 0, sizeof *told);
    if (machine && machine->synchronised) return TIME_OK;
    told->status = STA_UNSYNC;
    return TIME_ERROR;
}

int fdatasync(int file)
{
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (machine && machine->slow) {
        struct timespec pause = { machine->slow / 1000, machine->slow % 1000 * 1000000 };
        nanosleep(&pause, NULL);
    }
    return real(file);
}
