# SPDX-License-Identifier: Apache-2.0
src-y := dump.c main.c print.c
