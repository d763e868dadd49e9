# SPDX-License-Identifier: Apache-2.0
src-y := arena.c assert.c buf.c clock.c conf.c conf_defs.c conf_file.c copy.c crc32c.c crew.c file.c \
	hash.c hist.c log.c uuid.c
