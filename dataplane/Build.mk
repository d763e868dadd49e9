# SPDX-License-Identifier: Apache-2.0
src-y := main.c eal.c lane.c
src-y += net/pool.c net/sock.c net/pace.c net/peer.c net/guard.c reply/reply.c reply/cold.c
src-y += session/session.c session/stream.c session/land.c
src-y += request/request.c request/control.c request/api_versions.c
src-y += partition/partition.c partition/writer.c partition/writer_thread.c partition/writer_uring.c
src-y += partition/worker.c partition/errand.c partition/dirsync.c partition/checkpoints.c partition/cleaner.c partition/cleaning.c
src-y += image.c
src-y += host/host.c host/attach.c host/query.c host/doctor.c host/steer.c host/telemetry.c
src-y += host/memory.c host/tier.c
src-y += host/apply.c host/hosted.c host/logdirs.c host/topic_config.c
src-y += request/common.c request/landing.c request/produce.c request/produce_txn.c request/verify.c
src-y += request/fetch.c request/list_offsets.c
src-y += request/metadata.c request/epoch_end.c request/delete_records.c request/describe_producers.c
