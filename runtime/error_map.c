/* Names and messages of errors, from the one list in si.h. Any thread; static strings. */
#include <si/si.h>

const char *si_err_name(int error) {
    switch (error) {
    case SI_OK:
        return "SI_OK";
#define X(name, number, message)                                                                                       \
    case SI_##name:                                                                                                    \
        return "SI_" #name;
        SI_ERROR_MAP(X)
#undef X
    default:
        return "SI_UNKNOWN";
    }
}

const char *si_strerror(int error) {
    switch (error) {
    case SI_OK:
        return "success";
#define X(name, number, message)                                                                                       \
    case SI_##name:                                                                                                    \
        return message;
        SI_ERROR_MAP(X)
#undef X
    default:
        return "unknown error";
    }
}

const char *si_version(void) {
    return SI_VERSION;
}
