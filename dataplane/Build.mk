# SPDX-License-Identifier: Apache-2.0
src-y := main.c eal.c lane.c
src-y += net/pool.c net/sock.c reply/reply.c session/session.c session/stream.c
src-y += request/request.c request/control.c request/api_versions.c
