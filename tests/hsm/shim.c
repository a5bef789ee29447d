/*
 * A PKCS#11 module that forwards to SoftHSM and misbehaves as SHIM says:
 *
 *   chatty       prints on standard output while it is loaded and at every signature
 *   hang_load    never comes back from being loaded
 *   slow_login   waits in C_Login until somebody writes to the FIFO called SHIM_FILE
 *   lie          returns signatures with one bit turned
 *   fail         C_Sign returns CKR_DEVICE_ERROR while a file called SHIM_FILE exists
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ulong;
typedef struct { unsigned char version[2]; void *entry[68]; } table;
typedef ulong (*get_list)(table **);
typedef ulong (*login)(ulong, ulong, void *, ulong);
typedef ulong (*sign)(ulong, void *, ulong, unsigned char *, ulong *);

enum { LOGIN = 18, SIGN = 43, DEVICE_ERROR = 0x30 };

static table *real, ours;

static int says(const char *what)
{
    const char *shim = getenv("SHIM");
    return shim && !strcmp(shim, what);
}

static ulong our_login(ulong session, ulong user, void *pin, ulong length)
{
    if (says("slow_login")) {
        char byte;
        int fifo = open(getenv("SHIM_FILE"), O_RDONLY);
        if (read(fifo, &byte, 1) != 1) return DEVICE_ERROR;
        close(fifo);
    }
    return ((login)real->entry[LOGIN])(session, user, pin, length);
}

static ulong our_sign(ulong session, void *data, ulong length, unsigned char *signature, ulong *bytes)
{
    if (says("chatty")) { puts("the module signs"); fflush(stdout); }
    if (says("fail") && !access(getenv("SHIM_FILE"), F_OK)) return DEVICE_ERROR;
    ulong result = ((sign)real->entry[SIGN])(session, data, length, signature, bytes);
    if (says("lie") && result == 0 && signature) signature[*bytes - 1] ^= 1;
    return result;
}

ulong C_GetFunctionList(table **list)
{
    if (says("hang_load")) for (;;) pause();
    if (says("chatty")) { puts("the module is loaded"); fflush(stdout); }
    void *module = dlopen(getenv("SHIM_MODULE"), RTLD_NOW);
    if (!module) return DEVICE_ERROR;
    ulong result = ((get_list)dlsym(module, "C_GetFunctionList"))(&real);
    if (result) return result;
    ours = *real;
    ours.entry[LOGIN] = our_login;
    ours.entry[SIGN] = our_sign;
    *list = &ours;
    return 0;
}
