# SPDX-License-Identifier: Apache-2.0
src-y := counters.c loop.c
