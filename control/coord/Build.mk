# SPDX-License-Identifier: Apache-2.0
src-y := partkey.c shard.c text.c
