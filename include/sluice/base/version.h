/* SPDX-License-Identifier: Apache-2.0 */
/* The version that programs report. */
#ifndef SLUICE_BASE_VERSION_H
#define SLUICE_BASE_VERSION_H

#define SL_VERSION "0.1.0"

#endif
