/*
 * IDX, the format of MNIST: two zero bytes, the element type, the number of axes, then each axis as
 * a 32-bit number, big-endian, then the elements. The first axis counts the examples.
 *
 * Images are unsigned bytes of any rank from 2 on and become features 0 to 255; labels are unsigned
 * bytes of rank 1. Source: http://yann.lecun.com/exdb/mnist/, "the IDX file format".
 */
#ifndef PARAMD_WORKER_DATA_IDX_H
#define PARAMD_WORKER_DATA_IDX_H

#include "worker/data/data_file.h"

extern const struct data_format idx_format;

#endif
