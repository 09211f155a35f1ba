// Assertions of the checked builds (HYP_CHECKED): a broken invariant ends the program with its
// name, instead of a wrong answer later.
#ifndef HYP_BASE_CHECK_H
#define HYP_BASE_CHECK_H

#ifdef HYP_CHECKED
#include "../port.h"
#define HYP_CHECK(condition, message) ((condition) ? (void)0 : hyp_port_panic(message))
#else
#define HYP_CHECK(condition, message) ((void)sizeof(condition))
#endif

#endif
