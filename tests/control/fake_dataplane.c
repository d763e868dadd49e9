/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_dataplane.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sluice/base/arena.h"
#include "sluice/base/assert.h"
#include "sluice/base/buf.h"
#include "sluice/base/list.h"
#include "sluice/ipc/channel.h"
#include "sluice/ipc/shm.h"
#include "sluice/wire/image_broker_gen.h"
#include "sluice/wire/image_topic_gen.h"
#include "sluice/wire/kerr.h"

#define SLOTS       4096
#define TOPICS_MAX  2048
#define TICK_MS     2
/* Appends whose order is kept. */
#define APPENDS_MAX 4096
/* Set in the number under which the answer to a question is kept. */
#define VERIFIED    (UINT64_C(1) << 63)

/* A partition's log. */
struct log {
	struct sl_list link;
	struct sl_uuid topic_id;
	int32_t partition;
	struct sl_buf bytes;
	int64_t end;
	uint32_t batches;
	uint32_t slot; /* UINT32_MAX while closed */
};

struct answer {
	struct sl_list link;
	uint64_t seq;
	struct fake_answer answer;
};

/* Something the test wants sent. */
struct order {
	struct sl_list link;
	uint32_t channel;
	uint32_t type;
	size_t len;
	uint8_t data[];
};

struct fake {
	char path[256];
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock; /* everything below */
	bool is_stopping;
	bool hold_acks;
	bool stop_reading;
	bool drop_link;
	bool late_slots;
	bool tell_slots;
	bool hold_answer;
	uint32_t tiers_count; /* of the next answers */
	uint64_t tiers_first;
	uint32_t offers; /* hellos heard */
	uint32_t offered_count;
	uint64_t offered[SL_SHM_LANES_MAX];
	int32_t append_kerr;
	char fail_topic[256];
	int32_t fail_kerr;
	struct sl_uuid appends[APPENDS_MAX]; /* topic of each that worked */
	uint32_t appends_count;
	struct sl_list orders;
	struct sl_list answers;
	struct sl_list logs;
	struct fake_topic topics[TOPICS_MAX];
	uint32_t topics_count;
	uint64_t revision;
	uint64_t unacked; /* revision whose ack is held back; 0 none */
	uint32_t full_images;
	uint32_t deletions;
	int32_t controller_id;
	/* The thread's own. */
	uint32_t lanes;
	int listen_fd;
	int wake_fd;
	struct sl_shm *shm;
	size_t shm_bytes;
	int shm_fd;
	uint32_t slots_used;
	struct sl_ipc_link *link;
	int sock;              /* heard, or about to be, and not answered; else -1 */
	bool has_heard;        /* its hello */
	bool seen[TOPICS_MAX]; /* named by the full image being received */
	struct sl_arena arena;
};

struct fake *fake_create(const char *data_dir)
{
	struct fake *f = calloc(1, sizeof(*f));

	cr_assert(f);
	snprintf(f->path, sizeof(f->path), "%s/run/attach.sock", data_dir);
	pthread_mutex_init(&f->lock, NULL);
	sl_list_init(&f->orders);
	sl_list_init(&f->answers);
	sl_list_init(&f->logs);
	SL_ASSERT(sl_arena_create(&f->arena, 64 << 20) == 0);
	f->sock = -1;
	f->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return f;
}

/* ---- Logs ---- */

static struct log *find_log(struct fake *f, const struct sl_uuid *id, int32_t partition)
{
	struct sl_list *pos;

	sl_list_for_each(pos, &f->logs) {
		struct log *log = sl_list_entry(pos, struct log, link);

		if (sl_uuid_eq(&log->topic_id, id) && log->partition == partition)
			return log;
	}
	return NULL;
}

static void publish_slot(struct fake *f, struct log *log)
{
	struct sl_slot *slot = sl_shm_slot(f->shm, log->slot);

	atomic_store_explicit(&slot->log_end, log->end, memory_order_relaxed);
	atomic_store_explicit(&slot->high_watermark, log->end, memory_order_relaxed);
	atomic_store_explicit(&slot->log_bytes, log->bytes.len, memory_order_relaxed);
	atomic_store_explicit(&slot->segments, 1, memory_order_relaxed);
}

static void send_host(struct fake *f, uint32_t type, const void *p, size_t len)
{
	SL_ASSERT(sl_channel_send(f->link->channels[0], type, p, len, NULL, 0) == 0);
}

static void open_log(struct fake *f, const struct sl_uuid *id, int32_t partition)
{
	struct log *log = find_log(f, id, partition);
	struct sl_ipc_partition msg = {.topic_id = *id, .partition = partition};
	struct sl_slot *slot;

	if (!log) {
		log = calloc(1, sizeof(*log));
		log->topic_id = *id;
		log->partition = partition;
		log->slot = UINT32_MAX;
		sl_buf_init_grow(&log->bytes, 64 << 20);
		sl_list_push_back(&f->logs, &log->link);
	}
	if (log->slot == UINT32_MAX) {
		log->slot = f->slots_used++;
		slot = sl_shm_slot(f->shm, log->slot);
		slot->topic_id = *id;
		slot->partition = partition;
		publish_slot(f, log);
		/* Release: pairs with the reader's acquire of the state. */
		atomic_store_explicit(&slot->state, SL_SLOT_OPEN, memory_order_release);
	}
	msg.slot = log->slot;
	if (!f->late_slots)
		send_host(f, SL_IPC_PARTITION, &msg, sizeof(msg));
}

static void delete_logs(struct fake *f, const struct sl_uuid *id)
{
	struct sl_list *pos, *next;

	sl_list_for_each_safe(pos, next, &f->logs) {
		struct log *log = sl_list_entry(pos, struct log, link);

		if (!sl_uuid_eq(&log->topic_id, id))
			continue;
		if (log->slot != UINT32_MAX)
			atomic_store_explicit(&sl_shm_slot(f->shm, log->slot)->state, SL_SLOT_FREE,
			                      memory_order_release);
		sl_list_del(&log->link);
		sl_buf_fini(&log->bytes);
		free(log);
	}
}

/* ---- Images ---- */

static void forget_topic(struct fake *f, uint32_t i)
{
	free(f->topics[i].configs);
	f->topics[i] = f->topics[--f->topics_count];
	f->seen[i] = f->seen[f->topics_count];
}

static uint32_t topic_index(struct fake *f, const struct sl_uuid *id)
{
	for (uint32_t i = 0; i < f->topics_count; i++) {
		if (sl_uuid_eq(&f->topics[i].id, id))
			return i;
	}
	return UINT32_MAX;
}

static void take_topic(struct fake *f, const void *p, size_t len)
{
	struct sl_cursor c = sl_cursor_from(p, len);
	struct sl_image_topic m;
	struct fake_topic *t;
	struct sl_buf text;
	uint32_t i;

	sl_arena_reset(&f->arena);
	SL_ASSERT(sl_image_topic_decode(&m, &c, &f->arena, 0) == 0 && sl_cursor_is_done(&c));
	i = topic_index(f, &m.topic_id);
	if (i == UINT32_MAX) {
		SL_ASSERT(f->topics_count < TOPICS_MAX);
		i = f->topics_count++;
		f->topics[i] = (struct fake_topic){.id = m.topic_id};
	}
	t = &f->topics[i];
	f->seen[i] = true;
	snprintf(t->name, sizeof(t->name), "%.*s", SL_STR_ARG(m.name));
	t->is_internal = m.is_internal;
	t->partitions_count = m.partitions_count;
	for (int32_t k = 0; k < m.partitions_count && k < 64; k++)
		t->partitions[k] = (struct fake_partition){m.partitions[k].leader_id,
		                                           m.partitions[k].leader_epoch};
	sl_buf_init_grow(&text, 1 << 20);
	for (int32_t k = 0; k < m.configs_count; k++)
		sl_buf_printf(&text, "%.*s=%.*s\n", SL_STR_ARG(m.configs[k].name),
		              SL_STR_ARG(m.configs[k].value));
	sl_buf_put_u8(&text, 0);
	free(t->configs);
	t->configs = (char *)text.p;
	for (int32_t k = 0; k < m.partitions_count; k++)
		open_log(f, &m.topic_id, k);
}

static void take_broker(struct fake *f, const void *p, size_t len)
{
	struct sl_cursor c = sl_cursor_from(p, len);
	struct sl_image_broker m;

	sl_arena_reset(&f->arena);
	SL_ASSERT(sl_image_broker_decode(&m, &c, &f->arena, 0) == 0);
	SL_ASSERT(m.nodes_count == (int32_t)f->lanes);
	f->controller_id = m.controller_id;
}

static void take_deletion(struct fake *f, const struct sl_ipc_topic_delete *m)
{
	uint32_t i = topic_index(f, &m->topic_id);

	f->deletions++;
	if (i != UINT32_MAX)
		forget_topic(f, i);
	delete_logs(f, &m->topic_id);
}

static void ack(struct fake *f, uint64_t revision)
{
	struct sl_ipc_image m = {.revision = revision};

	f->unacked = 0;
	send_host(f, SL_IPC_IMAGE_ACK, &m, sizeof(m));
}

static void end_image(struct fake *f, const struct sl_ipc_image *m)
{
	for (uint32_t i = 0; m->is_full && i < f->topics_count;) {
		if (!f->seen[i])
			forget_topic(f, i);
		else
			i++;
	}
	f->revision = m->revision;
	f->full_images += m->is_full;
	if (f->hold_acks)
		f->unacked = m->revision;
	else
		ack(f, m->revision);
}

static void handle_host(struct fake *f, uint32_t type, const void *p, size_t len)
{
	struct sl_ipc_query q;

	switch (type) {
	case SL_IPC_IMAGE_BEGIN:
		memset(f->seen, 0, sizeof(f->seen));
		break;
	case SL_IPC_IMAGE_BROKER:
		take_broker(f, p, len);
		break;
	case SL_IPC_IMAGE_TOPIC:
		take_topic(f, p, len);
		break;
	case SL_IPC_IMAGE_TOPIC_DELETE:
		take_deletion(f, p);
		break;
	case SL_IPC_IMAGE_END:
		end_image(f, p);
		break;
	case SL_IPC_QUERY:
		memcpy(&q, p, sizeof(q));
		if (len - sizeof(q) == 6 && memcmp((const char *)p + sizeof(q), "silent", 6) == 0)
			break;
		SL_ASSERT(sl_channel_send(f->link->channels[0], SL_IPC_QUERY_DONE, &q, sizeof(q),
		                          "{\"lane\":-1}", 11) == 0);
		break;
	default:
		SL_ASSERT(!"host message of unknown type");
	}
}

/* ---- Lanes ---- */

static const char *topic_name_of(const struct fake *f, const struct sl_uuid *id)
{
	for (uint32_t i = 0; i < f->topics_count; i++) {
		if (sl_uuid_eq(&f->topics[i].id, id))
			return f->topics[i].name;
	}
	return "";
}

static void do_append(struct fake *f, uint32_t lane, const void *p, size_t len)
{
	struct sl_ipc_append_done done = {.base_offset = -1};
	struct sl_ipc_append head;
	struct log *log;
	uint8_t *b;

	memcpy(&head, p, sizeof(head));
	done.cookie = head.cookie;
	len -= sizeof(head);
	log = find_log(f, &head.topic_id, head.partition);
	if (f->append_kerr || !log) {
		done.kerr = f->append_kerr ? f->append_kerr : SL_KERR_NOT_LEADER_OR_FOLLOWER;
	} else if (f->fail_topic[0] &&
	           strcmp(f->fail_topic, topic_name_of(f, &head.topic_id)) == 0) {
		done.kerr = f->fail_kerr;
	} else {
		if (f->appends_count < APPENDS_MAX)
			f->appends[f->appends_count++] = head.topic_id;
		b = sl_buf_take(&log->bytes, len);
		memcpy(b, (const uint8_t *)p + sizeof(head), len);
		sl_store_be64(b, (uint64_t)log->end);
		done.base_offset = log->end;
		log->end += (int32_t)sl_load_be32(b + 23) + 1;
		log->batches++;
		publish_slot(f, log);
	}
	SL_ASSERT(sl_channel_send(f->link->channels[1 + lane], SL_IPC_APPEND_DONE, &done,
	                          sizeof(done), NULL, 0) == 0);
}

/* Bytes from the batch that holds @offset on. */
static struct sl_bytes from_offset(const struct log *log, int64_t offset)
{
	size_t pos = 0;

	while (pos < log->bytes.len) {
		const uint8_t *b = log->bytes.p + pos;
		int64_t last = (int64_t)sl_load_be64(b) + (int32_t)sl_load_be32(b + 23);

		if (last >= offset)
			return (struct sl_bytes){b, (int32_t)(log->bytes.len - pos)};
		pos += 12 + sl_load_be32(b + 8);
	}
	return (struct sl_bytes){NULL, 0};
}

static void do_read(struct fake *f, uint32_t lane, const struct sl_ipc_read *q)
{
	struct sl_ipc_read_done done = {.cookie = q->cookie};
	struct log *log = find_log(f, &q->topic_id, q->partition);
	struct sl_bytes found = {NULL, 0};

	if (!log) {
		done.kerr = SL_KERR_NOT_LEADER_OR_FOLLOWER;
	} else {
		done.log_end = log->end;
		found = from_offset(log, q->offset);
		/* Small pieces that end inside a batch: readers must cope. */
		found.len = (int32_t)SL_MIN((uint32_t)found.len, SL_MIN(q->bytes_max, 1000u));
		if (found.len >= 12)
			found.len = SL_MAX(found.len, 12 + (int32_t)sl_load_be32(
								   (const uint8_t *)found.p + 8));
	}
	SL_ASSERT(sl_channel_send(f->link->channels[1 + lane], SL_IPC_READ_DONE, &done,
	                          sizeof(done), found.p, (size_t)found.len) == 0);
}

static void take_response(struct fake *f, const void *p, size_t len)
{
	struct answer *a = calloc(1, sizeof(*a));
	struct sl_ipc_response head;

	memcpy(&head, p, sizeof(head));
	a->seq = head.seq;
	a->answer.is_close = head.flags & SL_IPC_RESPONSE_CLOSE;
	a->answer.len = len - sizeof(head);
	a->answer.p = malloc(a->answer.len + 1);
	memcpy(a->answer.p, (const uint8_t *)p + sizeof(head), a->answer.len);
	sl_list_push_back(&f->answers, &a->link);
}

static void take_verified(struct fake *f, const void *p)
{
	struct answer *a = calloc(1, sizeof(*a));
	struct sl_ipc_txn_verify_done head;

	memcpy(&head, p, sizeof(head));
	a->seq = head.cookie | VERIFIED;
	a->answer.len = sizeof(head.kerr);
	a->answer.p = malloc(sizeof(head.kerr));
	memcpy(a->answer.p, &head.kerr, sizeof(head.kerr));
	sl_list_push_back(&f->answers, &a->link);
}

static void handle_lane(struct fake *f, uint32_t lane, uint32_t type, const void *p, size_t len)
{
	struct sl_ipc_query q;

	switch (type) {
	case SL_IPC_RESPONSE:
		take_response(f, p, len);
		break;
	case SL_IPC_APPEND:
		do_append(f, lane, p, len);
		break;
	case SL_IPC_READ:
		do_read(f, lane, p);
		break;
	case SL_IPC_TXN_VERIFY_DONE:
		take_verified(f, p);
		break;
	case SL_IPC_QUERY:
		memcpy(&q, p, sizeof(q));
		q.error = -ENOENT;
		SL_ASSERT(sl_channel_send(f->link->channels[1 + lane], SL_IPC_QUERY_DONE, &q,
		                          sizeof(q), NULL, 0) == 0);
		break;
	default:
		SL_ASSERT(!"lane message of unknown type");
	}
}

/* ---- The thread ---- */

static void close_link(struct fake *f)
{
	sl_ipc_close(f->link);
	f->link = NULL;
}

static void drain(struct fake *f, uint32_t channel)
{
	struct sl_channel *ch = f->link->channels[channel];
	uint64_t aligned[64];
	const void *p;
	uint32_t type;
	size_t len;

	while (sl_channel_peek(ch, &type, &p, &len) == 1) {
		void *copy = len <= sizeof(aligned) ? aligned : malloc(len);

		memcpy(copy, p, len);
		sl_channel_release(ch);
		if (channel == 0)
			handle_host(f, type, copy, len);
		else
			handle_lane(f, channel - 1, type, copy, len);
		if (copy != aligned)
			free(copy);
	}
}

static void tell_slots(struct fake *f)
{
	struct sl_list *pos;

	sl_list_for_each(pos, &f->logs) {
		const struct log *log = sl_list_entry(pos, struct log, link);
		struct sl_ipc_partition msg = {
			.topic_id = log->topic_id, .partition = log->partition, .slot = log->slot};

		send_host(f, SL_IPC_PARTITION, &msg, sizeof(msg));
	}
	f->tell_slots = false;
}

static void obey(struct fake *f)
{
	while (f->link && !sl_list_is_empty(&f->orders)) {
		struct order *o = sl_list_entry(f->orders.next, struct order, link);

		if (sl_channel_send(f->link->channels[o->channel], o->type, o->data, o->len, NULL,
		                    0) == -EAGAIN)
			return;
		sl_list_del(&o->link);
		free(o);
	}
	if (f->link && f->unacked && !f->hold_acks)
		ack(f, f->unacked);
	if (f->link && f->tell_slots)
		tell_slots(f);
	if (f->drop_link && f->link)
		close_link(f);
	f->drop_link = false;
}

/* The first word of each tier tells one from another. */
static void note_offer(struct fake *f, struct sl_ipc_tiers *offered)
{
	f->offers++;
	f->offered_count = offered->count;
	for (uint32_t i = 0; i < offered->count; i++)
		SL_ASSERT(pread(offered->fds[i], &f->offered[i], sizeof(f->offered[i]), 0) ==
		          (ssize_t)sizeof(f->offered[i]));
	sl_ipc_tiers_close(offered);
}

/* Answers with the tiers that the test wants.  Nobody but the peer keeps them. */
static void answer(struct fake *f)
{
	struct sl_ipc_tiers used = {.count = f->tiers_count};

	for (uint32_t i = 0; i < used.count; i++) {
		uint64_t word = f->tiers_first + i;

		used.fds[i] = memfd_create("fake-tier", MFD_CLOEXEC);
		used.tiers[i] = (struct sl_ipc_tier){.bytes = word};
		SL_ASSERT(pwrite(used.fds[i], &word, sizeof(word), 0) == (ssize_t)sizeof(word));
	}
	SL_ASSERT(sl_ipc_answer(&f->link, f->sock, f->shm, f->shm_bytes, f->shm_fd, &used) == 0);
	f->sock = -1;
	sl_ipc_tiers_close(&used);
}

static void meet(struct fake *f)
{
	struct sl_ipc_tiers offered;
	int rc;

	if (f->sock < 0 && !f->has_heard) {
		f->sock = sl_ipc_accept(f->listen_fd);
		if (f->sock < 0)
			return;
	}
	if (!f->has_heard) {
		rc = sl_ipc_read_offer(f->sock, &offered);
		if (rc == -EAGAIN)
			return;
		SL_ASSERT(rc == 0);
		note_offer(f, &offered);
		f->has_heard = true;
	}
	if (f->hold_answer)
		return;
	f->has_heard = false;
	answer(f);
}

static void serve(struct fake *f)
{
	char byte;

	if (!f->link) {
		meet(f);
		if (!f->link)
			return;
	} else if (recv(f->link->sock, &byte, 1, MSG_DONTWAIT) == 0) {
		close_link(f);
		return;
	}
	for (uint32_t i = 0; !f->stop_reading && i <= f->lanes; i++)
		drain(f, i);
	obey(f);
}

static void *run(void *arg)
{
	struct fake *f = arg;
	bool is_stopping = false;

	while (!is_stopping) {
		struct pollfd fds[2] = {{f->listen_fd, POLLIN, 0}, {f->wake_fd, POLLIN, 0}};
		uint64_t count;

		pthread_mutex_lock(&f->lock);
		serve(f);
		is_stopping = f->is_stopping;
		pthread_mutex_unlock(&f->lock);
		/* The peer's writes to the channels' eventfds are not watched: a short tick will
		 * do. */
		(void)poll(fds, 2, TICK_MS);
		(void)!read(f->wake_fd, &count, sizeof(count));
	}
	if (f->link)
		close_link(f);
	if (f->sock >= 0)
		close(f->sock);
	f->sock = -1;
	f->has_heard = false;
	return NULL;
}

void fake_start(struct fake *f, uint32_t lanes)
{
	f->lanes = lanes;
	f->is_stopping = false;
	f->slots_used = 0;
	SL_ASSERT(sl_ipc_shm_create(&f->shm, &f->shm_bytes, &f->shm_fd, lanes, SLOTS) == 0);
	f->listen_fd = sl_ipc_listen(f->path);
	SL_ASSERT(f->listen_fd >= 0);
	SL_ASSERT(pthread_create(&f->thread, NULL, run, f) == 0);
	f->has_thread = true;
}

static void wake(struct fake *f)
{
	uint64_t one = 1;

	(void)!write(f->wake_fd, &one, sizeof(one));
}

static void clear_queues(struct fake *f)
{
	while (!sl_list_is_empty(&f->orders)) {
		struct order *o = sl_list_entry(f->orders.next, struct order, link);

		sl_list_del(&o->link);
		free(o);
	}
	while (!sl_list_is_empty(&f->answers)) {
		struct answer *a = sl_list_entry(f->answers.next, struct answer, link);

		sl_list_del(&a->link);
		free(a->answer.p);
		free(a);
	}
}

void fake_stop(struct fake *f)
{
	struct sl_list *pos;

	if (!f->has_thread)
		return;
	pthread_mutex_lock(&f->lock);
	f->is_stopping = true;
	pthread_mutex_unlock(&f->lock);
	wake(f);
	pthread_join(f->thread, NULL);
	f->has_thread = false;
	close(f->listen_fd);
	sl_ipc_shm_destroy(f->shm, f->shm_bytes, f->shm_fd);
	sl_list_for_each(pos, &f->logs)
		sl_list_entry(pos, struct log, link)->slot = UINT32_MAX;
	while (f->topics_count > 0)
		forget_topic(f, f->topics_count - 1);
	clear_queues(f);
	f->revision = 0;
	f->unacked = 0;
}

void fake_destroy(struct fake *f)
{
	struct sl_list *pos, *next;

	fake_stop(f);
	sl_list_for_each_safe(pos, next, &f->logs) {
		struct log *log = sl_list_entry(pos, struct log, link);

		sl_buf_fini(&log->bytes);
		free(log);
	}
	sl_arena_destroy(&f->arena);
	close(f->wake_fd);
	free(f);
}

/* ---- What tests say and ask ---- */

#define LOCKED(f, statement)                      \
	do {                                      \
		pthread_mutex_lock(&(f)->lock);   \
		statement;                        \
		pthread_mutex_unlock(&(f)->lock); \
		wake(f);                          \
	} while (0)

void fake_hold_acks(struct fake *f, bool hold)
{
	LOCKED(f, f->hold_acks = hold);
}

void fake_stop_reading(struct fake *f, bool stop)
{
	LOCKED(f, f->stop_reading = stop);
}

void fake_late_slots(struct fake *f, bool late)
{
	LOCKED(f, f->late_slots = late; f->tell_slots = !late);
}

void fake_hold_answer(struct fake *f, bool hold)
{
	pthread_mutex_lock(&f->lock);
	f->hold_answer = hold;
	pthread_mutex_unlock(&f->lock);
}

void fake_use_tiers(struct fake *f, uint32_t count, uint64_t first)
{
	pthread_mutex_lock(&f->lock);
	f->tiers_count = count;
	f->tiers_first = first;
	pthread_mutex_unlock(&f->lock);
}

uint32_t fake_offers(struct fake *f)
{
	uint32_t offers;

	pthread_mutex_lock(&f->lock);
	offers = f->offers;
	pthread_mutex_unlock(&f->lock);
	return offers;
}

uint32_t fake_offered(struct fake *f, uint64_t words[SL_SHM_LANES_MAX])
{
	uint32_t count;

	pthread_mutex_lock(&f->lock);
	count = f->offered_count;
	memcpy(words, f->offered, sizeof(f->offered));
	pthread_mutex_unlock(&f->lock);
	return count;
}

void fake_fail_appends(struct fake *f, int32_t kerr)
{
	LOCKED(f, f->append_kerr = kerr);
}

void fake_drop_link(struct fake *f)
{
	LOCKED(f, f->drop_link = true);
}

void fake_send_raw(struct fake *f, uint32_t channel, uint32_t type, const void *p, size_t len)
{
	struct order *o = malloc(sizeof(*o) + len);

	o->channel = channel;
	o->type = type;
	o->len = len;
	memcpy(o->data, p, len);
	LOCKED(f, sl_list_push_back(&f->orders, &o->link));
}

void fake_fail_topic(struct fake *f, const char *topic, int32_t kerr)
{
	LOCKED(f, snprintf(f->fail_topic, sizeof(f->fail_topic), "%s", topic ? topic : "");
	       f->fail_kerr = kerr);
}

void fake_verify(struct fake *f, uint32_t lane, const struct sl_ipc_txn_verify *head,
                 const char *transactional_id)
{
	size_t len = strlen(transactional_id);
	uint8_t *p = malloc(sizeof(*head) + len);

	memcpy(p, head, sizeof(*head));
	memcpy(p + sizeof(*head), transactional_id, len);
	fake_send_raw(f, 1 + lane, SL_IPC_TXN_VERIFY, p, sizeof(*head) + len);
	free(p);
}

bool fake_take_verified(struct fake *f, uint64_t cookie, int32_t *kerr)
{
	struct fake_answer a;

	if (!fake_take_answer(f, cookie | VERIFIED, &a))
		return false;
	memcpy(kerr, a.p, sizeof(*kerr));
	free(a.p);
	return true;
}

static const struct fake_topic *topic_named(const struct fake *f, const char *name)
{
	for (uint32_t i = 0; i < f->topics_count; i++) {
		if (strcmp(f->topics[i].name, name) == 0)
			return &f->topics[i];
	}
	return NULL;
}

size_t fake_read_batch(struct fake *f, const struct fake_place *at, uint8_t *to, size_t max)
{
	const struct fake_topic *t;
	const struct log *log;
	struct sl_batch_head head;
	uint32_t left = at->index;
	size_t got = 0;

	pthread_mutex_lock(&f->lock);
	t = topic_named(f, at->topic);
	log = t ? find_log(f, &t->id, at->partition) : NULL;
	for (size_t pos = 0; log && got == 0 && pos < log->bytes.len;
	     pos += sl_batch_bytes(&head)) {
		if (sl_batch_peek(log->bytes.p + pos, log->bytes.len - pos, &head))
			break;
		if (left-- == 0)
			got = SL_MIN(max, sl_batch_bytes(&head));
		memcpy(to, log->bytes.p + pos, got);
	}
	pthread_mutex_unlock(&f->lock);
	return got;
}

uint32_t fake_appends_count(struct fake *f)
{
	uint32_t n;

	LOCKED(f, n = f->appends_count);
	return n;
}

const char *fake_append_topic(struct fake *f, uint32_t index)
{
	const char *name = "";

	pthread_mutex_lock(&f->lock);
	if (index < f->appends_count)
		name = topic_name_of(f, &f->appends[index]);
	pthread_mutex_unlock(&f->lock);
	return name;
}

static struct sl_ipc_request request_head(uint64_t seq)
{
	struct sl_ipc_request head = {.conn = 7, .conn_gen = 1, .seq = seq, .peer_port = 4000};

	head.peer[10] = head.peer[11] = 0xff;
	head.peer[12] = 10;
	head.peer[15] = 9;
	return head;
}

void fake_request(struct fake *f, uint32_t lane, uint64_t seq, const void *frame, size_t len)
{
	struct sl_ipc_request head = request_head(seq);
	uint8_t *p = malloc(sizeof(head) + len);

	memcpy(p, &head, sizeof(head));
	memcpy(p + sizeof(head), frame, len);
	fake_send_raw(f, 1 + lane, SL_IPC_REQUEST, p, sizeof(head) + len);
	free(p);
}

void fake_cancel(struct fake *f, uint32_t lane, uint64_t seq)
{
	struct sl_ipc_request head = request_head(seq);

	fake_send_raw(f, 1 + lane, SL_IPC_CANCEL, &head, sizeof(head));
}

bool fake_take_answer(struct fake *f, uint64_t seq, struct fake_answer *out)
{
	struct sl_list *pos;
	bool found = false;

	pthread_mutex_lock(&f->lock);
	sl_list_for_each(pos, &f->answers) {
		struct answer *a = sl_list_entry(pos, struct answer, link);

		if (a->seq != seq)
			continue;
		*out = a->answer;
		sl_list_del(&a->link);
		free(a);
		found = true;
		break;
	}
	pthread_mutex_unlock(&f->lock);
	return found;
}

bool fake_topic(struct fake *f, const char *name, struct fake_topic *out)
{
	bool found = false;

	pthread_mutex_lock(&f->lock);
	for (uint32_t i = 0; !found && i < f->topics_count; i++) {
		found = strcmp(f->topics[i].name, name) == 0;
		if (found) {
			*out = f->topics[i];
			out->configs = strdup(out->configs);
		}
	}
	pthread_mutex_unlock(&f->lock);
	return found;
}

uint32_t fake_topics_count(struct fake *f)
{
	uint32_t n;

	LOCKED(f, n = f->topics_count);
	return n;
}

uint64_t fake_revision(struct fake *f)
{
	uint64_t n;

	LOCKED(f, n = f->revision);
	return n;
}

uint32_t fake_full_images(struct fake *f)
{
	uint32_t n;

	LOCKED(f, n = f->full_images);
	return n;
}

uint32_t fake_deletions(struct fake *f)
{
	uint32_t n;

	LOCKED(f, n = f->deletions);
	return n;
}

void fake_stat(struct fake *f, uint32_t lane, enum sl_stat stat, uint64_t value)
{
	LOCKED(f, sl_stat_set(sl_shm_stats(f->shm, lane), stat, value));
}

int32_t fake_controller_id(struct fake *f)
{
	int32_t n;

	LOCKED(f, n = f->controller_id);
	return n;
}

uint32_t fake_logs_count(struct fake *f)
{
	struct sl_list *pos;
	uint32_t n = 0;

	pthread_mutex_lock(&f->lock);
	sl_list_for_each(pos, &f->logs)
		n++;
	pthread_mutex_unlock(&f->lock);
	return n;
}

uint32_t fake_batches(struct fake *f, const char *topic)
{
	struct sl_list *pos;
	uint32_t n = 0;

	pthread_mutex_lock(&f->lock);
	for (uint32_t i = 0; i < f->topics_count; i++) {
		if (strcmp(f->topics[i].name, topic) != 0)
			continue;
		sl_list_for_each(pos, &f->logs) {
			struct log *log = sl_list_entry(pos, struct log, link);

			if (sl_uuid_eq(&log->topic_id, &f->topics[i].id))
				n += log->batches;
		}
	}
	pthread_mutex_unlock(&f->lock);
	return n;
}
