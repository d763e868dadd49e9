/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests need of the ingress loader beyond its public face. */
#ifndef KERN_INGRESS_H
#define KERN_INGRESS_H

#include "sluice/kern/loader.h"

/* Borrowed: the loaded program, for BPF_PROG_TEST_RUN. */
int ingress_prog_fd(const struct sl_ingress *ingress);

#endif
