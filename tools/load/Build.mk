# SPDX-License-Identifier: Apache-2.0
src-y := client.c cluster.c conn.c consume.c content.c errors.c fetch.c keys.c main.c options.c pinger.c \
	plan.c produce.c result.c run.c schedule.c verify.c worker.c
