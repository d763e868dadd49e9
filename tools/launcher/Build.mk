# SPDX-License-Identifier: Apache-2.0
src-y := main.c ready.c supervise.c
