# SPDX-License-Identifier: Apache-2.0
src-y := main.c run.c net.c flood.c limit_receive.c limit_sendfile.c limit_durable.c limit_round_trip.c micro.c \
	peers/nats.c peers/nats_conn.c
