# SPDX-License-Identifier: Apache-2.0
src-y := aborted.c checkpoint.c clean.c clean_aborted.c clean_filter.c clean_io.c clean_log.c clean_map.c clean_recover.c \
	clean_txn.c dir.c direct.c epochs.c file_ops.c fileio.c hot.c hot_buddy.c hot_pool.c hot_replay.c hot_slice.c hotlog.c \
	index.c log.c lookup.c point.c producers.c producers_file.c recover.c recycle.c replay.c retain.c segment.c snapshot.c sync.c \
	times.c truncate.c txnindex.c txns.c walk.c
