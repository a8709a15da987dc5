/* The version of the programs and of libparamd. The protocol has its own, in common/wire. */
#ifndef PARAMD_COMMON_BASE_VERSION_H
#define PARAMD_COMMON_BASE_VERSION_H

#define PARAMD_VERSION "0.1.0"

#endif
