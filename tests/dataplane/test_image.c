/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include <criterion/criterion.h>

#include "image.h"
#include "sluice/wire/image_broker_gen.h"
#include "sluice/wire/image_topic_gen.h"

static struct topic *make(const char *name, uint8_t id, int32_t partitions)
{
	struct sl_image_topic_partition parts[8] = {0};
	const struct topic_config config = {.max_message_bytes = 1000};
	int32_t nodes[] = {100, 101, 102};
	struct sl_image_topic rec = {
		.name = sl_str_from(name), .partitions = parts, .partitions_count = partitions};
	struct topic *t;

	memset(&rec.topic_id, id, sizeof(rec.topic_id));
	for (int32_t i = 0; i < partitions; i++)
		parts[i] = (struct sl_image_topic_partition){
			partitions - 1 - i, 100 + i, 5 + i, nodes, 3, nodes + 1, 2};
	cr_assert(topic_create(&t, &rec, &config) == 0);
	return t;
}

static void put(struct image *image, struct topic *t)
{
	cr_assert(image_put_topic(image, t) == 0);
	topic_put(t);
}

Test(image, finds_topics_by_name_and_by_id)
{
	struct image *image;
	struct sl_uuid id;

	cr_assert(image_create(&image) == 0);
	for (uint8_t i = 1; i <= 200; i++) {
		char name[16];

		snprintf(name, sizeof(name), "topic-%u", i);
		put(image, make(name, i, 1));
	}
	memset(&id, 77, sizeof(id));
	cr_expect_str_eq(image_topic_by_id(image, &id)->name, "topic-77");
	cr_expect(image_topic(image, sl_str_from("topic-77")) == image_topic_by_id(image, &id));
	cr_expect_null(image_topic(image, sl_str_from("topic-7777")));
	cr_expect_null(image_topic(image, SL_STR_NULL));
	cr_expect_null(image_topic(image, (struct sl_str){"", 0}));
	memset(&id, 0, sizeof(id));
	cr_expect_null(image_topic_by_id(image, &id));
	image_destroy(image);
}

Test(image, a_new_version_takes_the_place_of_the_old)
{
	struct topic *first = make("t", 1, 1);
	struct image *image;

	cr_assert(image_create(&image) == 0);
	cr_assert(image_put_topic(image, first) == 0);
	cr_expect(first->refs == 2);
	put(image, make("t", 1, 3));
	cr_expect(first->refs == 1, "the image has let go of it");
	cr_expect(image_topic(image, sl_str_from("t"))->partitions_count == 3);
	cr_expect(image->by_id.count == 1 && image->by_name.count == 1);
	topic_put(first);
	image_destroy(image);
}

Test(image, refuses_two_topics_of_one_name)
{
	struct topic *other = make("t", 2, 1);
	struct image *image;

	cr_assert(image_create(&image) == 0);
	put(image, make("t", 1, 1));
	cr_expect(image_put_topic(image, other) == -EEXIST);
	cr_expect(other->refs == 1);
	cr_expect_null(image_topic_by_id(image, &other->id));
	cr_expect(image_del_topic(image, &image_topic(image, sl_str_from("t"))->id));
	cr_expect(image_put_topic(image, other) == 0, "the name is free now");
	topic_put(other);
	image_destroy(image);
}

Test(image, a_clone_shares_topics_and_outlives_its_origin)
{
	struct topic *t = make("t", 1, 2);
	struct image *a, *b;
	struct sl_image_broker_node nodes[] = {{100, sl_str_from("h"), 9093}};
	const struct sl_image_broker rec = {.cluster_id = sl_str_from("abc"),
	                                    .controller_id = 100,
	                                    .nodes = nodes,
	                                    .nodes_count = 1,
	                                    .auto_create_topics = true};

	cr_assert(image_create(&a) == 0);
	cr_assert(image_put_topic(a, t) == 0);
	cr_assert(image_set_cluster(a, &rec) == 0);
	a->revision = 9;
	cr_assert(image_clone(&b, a) == 0);
	cr_expect(t->refs == 3);
	image_destroy(a);
	cr_expect(image_topic(b, sl_str_from("t")) == t);
	cr_expect(b->revision == 9 && b->controller_id == 100 && b->auto_create_topics);
	cr_expect_str_eq(b->cluster_id, "abc");
	cr_assert(b->nodes_count == 1);
	cr_expect_str_eq(b->nodes[0].host, "h");
	cr_expect(b->nodes[0].port == 9093);
	cr_expect(b->host_bytes_max == sizeof("h"));
	image_destroy(b);
	cr_expect(t->refs == 1);
	topic_put(t);
}

Test(image, refuses_nodes_without_address_and_keeps_the_old)
{
	struct sl_image_broker_node good[] = {{100, sl_str_from("h"), 9093}};
	struct sl_image_broker_node bad[] = {{100, sl_str_from("h"), 9093},
	                                     {101, sl_str_from("h"), 0}};
	struct sl_image_broker rec = {
		.cluster_id = sl_str_from("abc"), .nodes = good, .nodes_count = 1};
	struct image *image;

	cr_assert(image_create(&image) == 0);
	cr_assert(image_set_cluster(image, &rec) == 0);
	rec.nodes = bad;
	rec.nodes_count = 2;
	cr_expect(image_set_cluster(image, &rec) == -EINVAL);
	bad[1] = (struct sl_image_broker_node){101, sl_str_from(""), 9093};
	cr_expect(image_set_cluster(image, &rec) == -EINVAL);
	cr_expect(image->nodes_count == 1);
	cr_expect_str_eq(image->cluster_id, "abc");
	image_destroy(image);
}

Test(image, knows_the_longest_host)
{
	struct sl_image_broker_node nodes[] = {{100, sl_str_from("a"), 9093},
	                                       {101, sl_str_from("longest.example"), 9093},
	                                       {102, sl_str_from("b.example"), 9093}};
	struct sl_image_broker rec = {
		.cluster_id = sl_str_from("abc"), .nodes = nodes, .nodes_count = 3};
	struct image *image;

	cr_assert(image_create(&image) == 0);
	cr_assert(image->host_bytes_max == 0);
	cr_assert(image_set_cluster(image, &rec) == 0);
	cr_expect(image->host_bytes_max == sizeof("longest.example"));
	rec.nodes_count = 1;
	cr_assert(image_set_cluster(image, &rec) == 0);
	cr_expect(image->host_bytes_max == sizeof("a"), "of the nodes there are now");
	image_destroy(image);
}

Test(image, topic_takes_partitions_in_any_order)
{
	struct topic *t = make("t", 1, 4);
	struct topic *copy;

	cr_expect(t->partitions[3].leader_id == 100 && t->partitions[3].leader_epoch == 5);
	cr_expect(t->partitions[0].leader_id == 103 && t->partitions[0].leader_epoch == 8);
	cr_expect(t->partitions[0].replicas_count == 3 && t->partitions[0].replicas[2] == 102);
	cr_expect(t->partitions[0].isr_count == 2 && t->partitions[0].isr[0] == 101);
	cr_assert(topic_copy(&copy, t) == 0);
	topic_put(t);
	cr_expect_str_eq(copy->name, "t");
	cr_expect(copy->refs == 1 && copy->config.max_message_bytes == 1000);
	cr_expect(copy->partitions[0].replicas[2] == 102 && copy->partitions[0].isr[1] == 102);
	topic_put(copy);
}

static int create(struct sl_str name, uint8_t id, const int32_t *indices, int32_t count)
{
	struct sl_image_topic_partition parts[4] = {0};
	const struct topic_config config = {0};
	struct sl_image_topic rec = {.name = name, .partitions = parts, .partitions_count = count};
	struct topic *t = NULL;
	int rc;

	memset(&rec.topic_id, id, sizeof(rec.topic_id));
	for (int32_t i = 0; i < count; i++)
		parts[i].partition_index = indices[i];
	rc = topic_create(&t, &rec, &config);
	topic_put(t);
	return rc;
}

Test(image, refuses_names_that_are_no_folders)
{
	static const char *const bad[] = {"", ".", "..", "a/b", "../x", "a b", "a\n", "\xc3\xa9"};
	const int32_t zero[] = {0};
	char longest[251];

	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++)
		cr_expect(create(sl_str_from(bad[i]), 1, zero, 1) == -EINVAL, "%s", bad[i]);
	cr_expect(create((struct sl_str){"a\0b", 3}, 1, zero, 1) == -EINVAL);
	cr_expect(create(SL_STR_NULL, 1, zero, 1) == -EINVAL);
	memset(longest, 'x', sizeof(longest));
	cr_expect(create((struct sl_str){longest, 250}, 1, zero, 1) == -EINVAL);
	cr_expect(create((struct sl_str){longest, 249}, 1, zero, 1) == 0);
	cr_expect(create(sl_str_from("A-z_0.9"), 1, zero, 1) == 0);
	cr_expect(create(sl_str_from("t"), 0, zero, 1) == -EINVAL, "no id");
}

Test(image, refuses_partitions_with_gaps_or_twice)
{
	const int32_t gap[] = {0, 2}, twice[] = {1, 1}, negative[] = {-1}, good[] = {1, 0};

	cr_expect(create(sl_str_from("t"), 1, gap, 2) == -EINVAL);
	cr_expect(create(sl_str_from("t"), 1, twice, 2) == -EINVAL);
	cr_expect(create(sl_str_from("t"), 1, negative, 1) == -EINVAL);
	cr_expect(create(sl_str_from("t"), 1, good, 0) == -EINVAL, "none at all");
	cr_expect(create(sl_str_from("t"), 1, good, 2) == 0);
}
