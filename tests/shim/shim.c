/*
 * A PKCS#11 module that forwards every call to the module named by SHIM_MODULE, and misbehaves as the mapped file
 * named by SHIM_CONTROL says while it runs. `rules.py` is the other end of that file.
 *
 * All functions of PKCS#11 2.40 take at most eight arguments, each a pointer or an integer, so one shape of forwarder
 * serves all of them. A call to C_Sign that only asks for the length has a rule of its own: nothing is signed by it.
 *
 * A module that was initialised without locks must never have two threads in it. This one counts, and ends the process
 * when there are two.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

typedef unsigned long ulong;
typedef ulong (*function)(ulong, ulong, ulong, ulong, ulong, ulong, ulong, ulong);
typedef struct { unsigned char version[2]; function entry[68]; } table;

enum { GET_FUNCTION_LIST = 3, SIGN = 43, SIGN_LENGTH = 68, FUNCTIONS = 69 };
enum { GENERAL_ERROR = 5 };
enum action { FORWARD, RETURN, RETURN_AFTERWARDS, DELAY, HANG, ABORT, LIE, PRINT, HANG_AFTERWARDS };

struct rule { ulong action, value, skip, times, calls, lifted; };
struct control { ulong collisions; struct rule rules[FUNCTIONS]; };

static table *real, ours;
static struct control *control;
static int inside;

static void enter(int number)
{
    if (__atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST) == 1) return;
    __atomic_add_fetch(&control->collisions, 1, __ATOMIC_SEQ_CST);
    fprintf(stderr, "two threads are in the module, one of them in function %d\n", number);
    abort();
}

static void leave(void) { __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST); }

/* Take one from *left, unless there is none. */
static int take(ulong *left)
{
    ulong seen = __atomic_load_n(left, __ATOMIC_SEQ_CST);
    while (seen)
        if (__atomic_compare_exchange_n(left, &seen, seen - 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return 1;
    return 0;
}

static enum action action_of(struct rule *rule)
{
    enum action action = __atomic_load_n(&rule->action, __ATOMIC_SEQ_CST);
    ulong limited = rule->times;
    __atomic_add_fetch(&rule->calls, 1, __ATOMIC_SEQ_CST);
    if (action == FORWARD || take(&rule->skip)) return FORWARD;
    if (limited && !take(&rule->times)) return FORWARD;
    if (limited == 1) __atomic_store_n(&rule->action, FORWARD, __ATOMIC_SEQ_CST);
    return action;
}

static ulong call(int number, ulong a, ulong b, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h)
{
    struct rule *rule = &control->rules[number == SIGN && !d ? SIGN_LENGTH : number];
    enter(number);
    ulong lifted = __atomic_load_n(&rule->lifted, __ATOMIC_SEQ_CST);
    enum action action = action_of(rule);
    ulong result = 0;
    switch (action) {
    case ABORT: abort();
    case DELAY: usleep(rule->value * 1000); break;
    case HANG: while (__atomic_load_n(&rule->lifted, __ATOMIC_SEQ_CST) == lifted) usleep(1000); break;
    case PRINT: printf("the module is in function %d\n", number); fflush(stdout); break;
    default: break;
    }
    if (action == RETURN) result = rule->value;
    else if (number != GET_FUNCTION_LIST) result = real->entry[number](a, b, c, d, e, f, g, h);
    if (action == RETURN_AFTERWARDS) result = rule->value;
    if (action == HANG_AFTERWARDS) {
        __atomic_store_n(&rule->value, 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&rule->lifted, __ATOMIC_SEQ_CST) == lifted) usleep(1000);
    }
    if (action == LIE && !result && number == SIGN && d) ((unsigned char *)d)[*(ulong *)e - 1] ^= 1;
    leave();
    return result;
}

#define FORWARDER(n) static ulong forward_##n(ulong a, ulong b, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h) \
    { return call(n, a, b, c, d, e, f, g, h); }
#define TEN(use, t) use(t##0) use(t##1) use(t##2) use(t##3) use(t##4) use(t##5) use(t##6) use(t##7) use(t##8) use(t##9)
#define ALL(use) TEN(use,) TEN(use, 1) TEN(use, 2) TEN(use, 3) TEN(use, 4) TEN(use, 5) \
    use(60) use(61) use(62) use(63) use(64) use(65) use(66) use(67)
#define REPLACE(n) if (real->entry[n]) ours.entry[n] = forward_##n;

ALL(FORWARDER)

/* Loading the module is a call as well: it may hang, crash or fail. */
ulong C_GetFunctionList(table **list)
{
    int file = open(getenv("SHIM_CONTROL"), O_RDWR);
    control = mmap(0, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || control == MAP_FAILED) return GENERAL_ERROR;
    close(file);
    ulong result = call(GET_FUNCTION_LIST, 0, 0, 0, 0, 0, 0, 0, 0);
    if (result) return result;
    void *module = dlopen(getenv("SHIM_MODULE"), RTLD_NOW);
    if (!module) return GENERAL_ERROR;
    result = ((ulong (*)(table **))dlsym(module, "C_GetFunctionList"))(&real);
    if (result) return result;
    ours = *real;
    ALL(REPLACE)
    ours.entry[GET_FUNCTION_LIST] = (function)(void *)C_GetFunctionList;
    *list = &ours;
    return 0;
}
