/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "sluice/wire/image_broker_gen.h"
#include "sluice/wire/image_topic_gen.h"

/* ---- Folders ---- */

void rig_root(char root[64])
{
	snprintf(root, 64, "/tmp/sl-host-XXXXXX");
	cr_assert(mkdtemp(root));
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void rig_root_remove(const char *root)
{
	cr_expect(nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

bool rig_exists(const char *root, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	return access(path, F_OK) == 0;
}

unsigned rig_count(const char *root, const char *folder, const char *part)
{
	const struct dirent *e;
	unsigned count = 0;
	char path[512];
	DIR *dir;

	snprintf(path, sizeof(path), "%s/%s", root, folder);
	dir = opendir(path);
	cr_assert(dir);
	while ((e = readdir(dir)))
		count += strstr(e->d_name, part) != NULL;
	closedir(dir);
	return count;
}

/* ---- Life ---- */

static void on_post(void *arg, struct lane_msg *msg)
{
	struct rig *r = arg;

	cr_assert(msg->lane < RIG_LANES);
	sl_list_push_back(&r->posted, &msg->link);
}

static void on_tell(void *arg, enum sl_ipc_type type, const void *head, size_t bytes)
{
	struct rig *r = arg;
	struct rig_told *t = &r->told[r->told_count];

	cr_assert(r->told_count < RIG_TOLD_MAX);
	cr_assert(bytes <= sizeof(*t) - offsetof(struct rig_told, image));
	t->type = type;
	memcpy(&t->image, head, bytes);
	r->told_count++;
}

static void start(struct rig *r)
{
	struct sl_files files = {.ops = &r->ops};
	char error[SL_CONF_ERROR_MAX] = "";
	const struct apply_opts o = {
		.conf = &r->conf,
		.shm = r->shm,
		.node_id_base = RIG_NODE_BASE,
		.partitions_max = RIG_LANE_MAX,
		.post = on_post,
		.tell = on_tell,
		.arg = r,
	};
	struct apply_opts opts = o;

	cr_assert(logdirs_create(&r->dirs, sl_conf_str(&r->conf, SL_CK_log_dirs), r->root, files, 0,
	                         error) == 0,
	          "%s", error);
	opts.dirs = r->dirs;
	cr_assert(apply_create(&r->apply, &opts) == 0);
	for (unsigned i = 0; i < RIG_LANES; i++)
		r->seen[i] = apply_image(r->apply);
}

struct rig *rig_create(const char *dirs)
{
	struct rig *r = calloc(1, sizeof(*r));
	char error[SL_CONF_ERROR_MAX];
	char list[256];

	cr_assert(r);
	rig_root(r->root);
	r->ops = sl_file_ops_plain;
	sl_list_init(&r->posted);
	sl_buf_init_grow(&r->buf, 1 << 20);
	cr_assert(sl_conf_load(&r->conf, NULL, error) == 0);
	if (dirs) {
		snprintf(list, sizeof(list), "%s/a,%s/b", r->root, r->root);
		cr_assert(sl_conf_set(&r->conf, "log.dirs", list, error) == 0);
	}
	cr_assert(sl_ipc_shm_create(&r->shm, &r->shm_bytes, &r->shm_fd, RIG_LANES,
	                            RIG_LANES * RIG_LANE_MAX) == 0);
	start(r);
	return r;
}

static int stop(struct rig *r)
{
	int rc = apply_destroy(r->apply);
	int dirs_rc = logdirs_destroy(r->dirs);

	sl_list_init(&r->posted);
	r->told_count = 0;
	memset(r->dirs_offline, 0, sizeof(r->dirs_offline));
	return rc ? rc : dirs_rc;
}

int rig_restart(struct rig *r)
{
	int rc = stop(r);

	start(r);
	return rc;
}

void rig_destroy(struct rig *r)
{
	cr_expect(stop(r) == 0);
	sl_ipc_shm_destroy(r->shm, r->shm_bytes, r->shm_fd);
	sl_conf_fini(&r->conf);
	sl_buf_fini(&r->buf);
	rig_root_remove(r->root);
	free(r);
}

/* ---- The control process ---- */

struct sl_uuid rig_id(uint8_t id)
{
	struct sl_uuid u;

	memset(&u, id, sizeof(u));
	return u;
}

static void send_mark(struct rig *r, enum sl_ipc_type type, uint64_t revision, bool is_full)
{
	struct sl_ipc_image head = {.revision = revision, .is_full = is_full};

	cr_assert(apply_message(r->apply, type, &head, sizeof(head)) == 0);
}

void rig_begin(struct rig *r, uint64_t revision, bool is_full)
{
	send_mark(r, SL_IPC_IMAGE_BEGIN, revision, is_full);
}

void rig_end(struct rig *r, uint64_t revision)
{
	send_mark(r, SL_IPC_IMAGE_END, revision, false);
}

void rig_topic(struct rig *r, const struct rig_topic *t)
{
	struct sl_image_topic_partition parts[RIG_LANES * RIG_LANE_MAX] = {0};
	struct sl_image_topic_config config = {0};
	struct sl_image_topic m = {
		.topic_id = rig_id(t->id),
		.name = sl_str_from(t->name),
		.partitions = parts,
		.partitions_count = t->partitions,
		.configs = &config,
	};
	int32_t nodes[SL_ARRAY_SIZE(parts)];

	cr_assert(t->partitions <= (int32_t)SL_ARRAY_SIZE(parts));
	if (t->config) {
		const char *eq = strchr(t->config, '=');

		config.name = (struct sl_str){t->config, (int32_t)(eq - t->config)};
		config.value = sl_str_from(eq + 1);
		m.configs_count = 1;
	}
	for (int32_t i = 0; i < t->partitions; i++) {
		nodes[i] = RIG_NODE_BASE + (t->leader - RIG_NODE_BASE + i) % RIG_LANES;
		if (t->leader < 0)
			nodes[i] = t->leader;
		parts[i] = (struct sl_image_topic_partition){i, nodes[i],  t->epoch, &nodes[i],
		                                             1, &nodes[i], 1};
	}
	sl_buf_reset(&r->buf);
	sl_image_topic_encode(&m, &r->buf, 0);
	cr_assert(sl_buf_ok(&r->buf));
	cr_assert(apply_message(r->apply, SL_IPC_IMAGE_TOPIC, r->buf.p, r->buf.len) == 0);
}

void rig_delete(struct rig *r, uint8_t id)
{
	struct sl_ipc_topic_delete head = {rig_id(id)};

	cr_assert(apply_message(r->apply, SL_IPC_IMAGE_TOPIC_DELETE, &head, sizeof(head)) == 0);
}

void rig_publish(struct rig *r, uint64_t revision, bool is_full, const struct rig_topic *t)
{
	rig_begin(r, revision, is_full);
	if (t)
		rig_topic(r, t);
	rig_end(r, revision);
}

/* ---- The lanes ---- */

int rig_poll(struct rig *r)
{
	int rc;

	do {
		rc = apply_poll(r->apply);
	} while (rc > 0);
	return rc;
}

struct lane_msg *rig_posted(struct rig *r)
{
	return sl_list_first(&r->posted, struct lane_msg, link);
}

void rig_obey(struct rig *r, struct lane_msg *msg)
{
	struct partition *p = msg->partition;

	sl_list_del(&msg->link);
	switch (msg->type) {
	case LANE_MSG_IMAGE:
		r->seen[msg->lane] = msg->image;
		break;
	case LANE_MSG_ATTACH:
		cr_expect(p->lane == (int32_t)msg->lane);
		p->refs = 1;
		p->slot->topic_id = p->topic_id;
		p->slot->partition = p->index;
		atomic_store(&p->slot->state, SL_SLOT_OPEN);
		break;
	case LANE_MSG_DETACH:
		cr_expect(p->lane == (int32_t)msg->lane && p->refs == 1);
		p->refs = 0;
		atomic_store(&p->slot->state, SL_SLOT_FREE);
		break;
	case LANE_MSG_DIR_OFFLINE:
		cr_expect(msg->error < 0);
		r->dirs_offline[msg->lane] |= UINT64_C(1) << msg->log_dir;
		break;
	case LANE_MSG_CONFIG:
		sl_log_set_config(p->log, msg->log_config);
		break;
	default:
		cr_assert_fail("message of type %d", (int)msg->type);
	}
	apply_returned(r->apply, msg);
}

int rig_settle(struct rig *r)
{
	struct lane_msg *msg;
	int rc = rig_poll(r);

	while (rc == 0 && (msg = rig_posted(r))) {
		rig_obey(r, msg);
		rc = rig_poll(r);
	}
	return rc;
}

const struct topic *rig_seen(const struct rig *r, const char *name)
{
	return image_topic(r->seen[0], sl_str_from(name));
}

unsigned rig_told(const struct rig *r, enum sl_ipc_type type, const struct rig_told **last)
{
	unsigned count = 0;

	for (unsigned i = 0; i < r->told_count; i++) {
		if (r->told[i].type != type)
			continue;
		if (last)
			*last = &r->told[i];
		count++;
	}
	return count;
}
