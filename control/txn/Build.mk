# SPDX-License-Identifier: Apache-2.0
src-y := txn.c table.c partset.c answer.c journal.c \
	init.c add.c end.c marker.c scan.c replay.c
