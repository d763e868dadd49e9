# SPDX-License-Identifier: Apache-2.0
src-y := main.c supervise.c
