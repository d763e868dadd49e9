# SPDX-License-Identifier: Apache-2.0
src-y := group.c state.c member.c protocol.c deadline.c \
	join.c rebalance.c sync.c leave.c \
	commit.c txn_commit.c pending.c fetch.c offsets.c describe.c remove.c \
	records.c append.c load.c reply.c \
	consumer.c heartbeat.c target.c reconcile.c persist.c revive.c examine.c \
	gauges.c migrate.c mixed.c parts.c uniform.c range.c exchange.c \
	regex.c regex_parse.c
