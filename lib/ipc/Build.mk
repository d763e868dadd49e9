# SPDX-License-Identifier: Apache-2.0
src-y := channel.c shm.c stats.c attach.c hello.c
