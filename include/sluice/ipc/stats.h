/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counters of a lane, once: name, kind, text.  They are shown by `sluicectl lanes`, exported as
 * sluice_lane_<name>{lane="i"} on /metrics, and generate Documentation/admin-guide/metrics.md.
 * Kind: C counter (only rises), G gauge.
 */
#ifndef SLUICE_IPC_STATS_H
#define SLUICE_IPC_STATS_H

/* clang-format off */
#define SL_STATS(X) \
X(connections, G, "open connections") \
X(connections_accepted, C, "connections accepted") \
X(connections_refused_limit, C, "connections refused: lane.connections.max or max.connections.per.ip reached") \
X(connections_refused_memory, C, "connections refused: no descriptor or memory") \
X(closed_by_peer, C, "connections closed by the client") \
X(closed_idle, C, "closed: idle longer than connections.max.idle.ms") \
X(closed_slow_frame, C, "closed: a request did not arrive in connection.request.timeout.ms") \
X(closed_frame_size, C, "closed: frame length negative, too small or above socket.request.max.bytes") \
X(closed_unknown_api, C, "closed: unknown API key or unsupported version") \
X(closed_malformed, C, "closed: request body malformed") \
X(closed_acks0_error, C, "closed: error on a produce with acks=0") \
X(closed_error, C, "closed: socket error") \
X(closed_control_lost, C, "closed: the control process did not answer in time") \
X(bytes_received, C, "bytes received") \
X(bytes_sent, C, "bytes sent") \
X(requests, C, "requests parsed") \
X(responses, C, "responses sent") \
X(requests_produce, C, "Produce requests") \
X(requests_fetch, C, "Fetch requests") \
X(requests_metadata, C, "Metadata requests") \
X(requests_forwarded, C, "requests forwarded to the control process") \
X(produce_failed, C, "partitions of Produce requests answered with an error") \
X(produces_landed, C, "Produce requests whose records were received straight into the log") \
X(produces_staged, C, "Produce requests whose records were received in a buffer") \
X(landings_displaced, C, "times records on their way into the log gave way to another append") \
X(fetch_failed, C, "partitions of Fetch requests answered with an error") \
X(batches_in, C, "record batches appended") \
X(messages_in, C, "records appended") \
X(bytes_in, C, "record batch bytes appended") \
X(bytes_out, C, "record batch bytes sent to consumers") \
X(duplicates, C, "idempotent batches recognised as duplicates") \
X(txn_markers, C, "ends of transactions appended") \
X(txn_verifies, C, "times the transaction coordinator was asked about a partition") \
X(txn_verifies_refused, C, "of them, those it answered with an error") \
X(txn_verifies_lost, C, "of them, those without an answer: control process, partition or client gone, or too slow") \
X(txn_verifies_refused_limit, C, "times it could not be asked: control process away, its ring full, or too many questions") \
X(sendfile_calls, C, "sendfile system calls") \
X(recv_calls, C, "recv system calls") \
X(send_calls, C, "send system calls") \
X(uring_calls, C, "io_uring_enter system calls, of writes to the log") \
X(guard_questions, C, "peers on this host asked what they have read") \
X(guard_copied, C, "large pieces of memory sent as a copy: the peer cannot be asked, or too much is under way to it") \
X(guard_held, C, "chunks that a connection still held when they were to be recycled") \
X(guard_unsettled, C, "of them, those that could not be proved to be free") \
X(guard_orphaned, C, "chunks held by a connection that closed") \
X(cold_waits, C, "times a reply waited for the disk") \
X(cold_reads, C, "windows of a segment file read ahead") \
X(syncs, C, "group commits") \
X(sync_bursts, C, "times that group commits were started, one or several at once") \
X(sync_errors, C, "failed group commits") \
X(sync_us, C, "microseconds spent in group commits, as seen by the lane") \
X(dir_syncs, C, "syncs of whole log dirs, for what nobody waits for") \
X(dir_sync_us, C, "microseconds spent in syncs of whole log dirs, as seen by the lane") \
X(writes, C, "group commits that wrote a part of the hot tier to disk") \
X(write_bytes, C, "bytes of the hot tier written to disk, rounded up to blocks") \
X(write_retries, C, "writes that had to be continued or repeated (io_uring)") \
X(cleanings, C, "logs compacted") \
X(clean_cancelled, C, "compactions given up because the log was closed, cut or reconfigured") \
X(clean_failed, C, "compactions that failed") \
X(clean_bytes_read, C, "bytes of segments read by compaction, in both passes") \
X(clean_bytes_written, C, "bytes of segments written by compaction") \
X(clean_records_read, C, "records that compaction has looked at") \
X(clean_records_kept, C, "of them, those that stayed") \
X(clean_records_keyless, C, "of them, those without a key, which are dropped") \
X(clean_uncleanable, G, "partitions taken out of compaction after an error") \
X(clean_uncleanable_bytes, G, "bytes of them that would be compacted, at the last look") \
X(clean_looked_ms, G, "wall clock of the last look at all compacted logs, in ms since 1970; 0: none yet") \
X(clean_max_dirty_percent, G, "share of the dirtiest compacted log that was not compacted yet, at the last look") \
X(clean_max_delay_seconds, G, "how far max.compaction.lag.ms was exceeded at most, at the last look") \
X(clean_recopy_percent, G, "bytes that the last compaction kept, of those it went through") \
X(clean_map_percent, G, "how full log.cleaner.dedupe.buffer.size was in the last compaction") \
X(clean_seconds, G, "how long the last compaction took") \
X(fetches_parked, G, "fetches waiting for data") \
X(produces_parked, G, "produce requests waiting for durability") \
X(verifies_parked, G, "produce requests waiting for the transaction coordinator") \
X(control_parked, G, "requests waiting for the control process") \
X(buffer_bytes_used, G, "bytes of lane.buffer.bytes in use") \
X(buffer_exhausted, C, "times a connection had to wait for buffer memory") \
X(hot_exhausted, C, "times a connection had to wait for room in the hot tier") \
X(ring_full, C, "times the ring to the control process was full") \
X(partitions, G, "partitions served") \
X(partitions_offline, G, "partitions whose log dir failed") \
X(producers, G, "producer ids that partitions remember, each counted in each partition") \
X(partitions_late_txns, G, "partitions whose oldest open transaction got no record for transaction.max.timeout.ms and five minutes") \
X(polls, C, "loop iterations") \
X(polls_busy, C, "loop iterations that found work") \
X(sleeps, C, "times the lane slept") \
X(epoll_calls, C, "epoll_wait system calls") \
X(epoll_calls_busy, C, "epoll_wait system calls of loop iterations that found work") \
X(epoll_events, C, "events that epoll_wait brought") \
X(cycles_busy, C, "TSC cycles of loop iterations that found work, their system calls included") \
X(cycles_idle, C, "TSC cycles of loop iterations that found none, and of falling asleep") \
X(cycles_asleep, C, "TSC cycles inside an epoll_wait that might sleep; with busy and idle all of the lane's time") \
X(tsc_hz, G, "TSC frequency")
/* clang-format on */

#define SL_STAT_ENUM_(name, kind, text) SL_STAT_##name,
enum sl_stat {
	SL_STATS(SL_STAT_ENUM_) SL_STAT_NR
};
#undef SL_STAT_ENUM_

struct sl_stat_def {
	const char *name;
	char kind; /* 'C' or 'G' */
	const char *text;
};
extern const struct sl_stat_def sl_stat_defs[SL_STAT_NR];

#endif
