/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which connection of which thread serves which partitions.  A connection goes to one leader;
 * leaders get connections in proportion to their partitions, and connections go to threads in turn.
 * Runs once, before the workers do.
 */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "consume.h"
#include "pinger.h"
#include "produce.h"
#include "sluice/base/hash.h"

#define CONNECTIONS_DEFAULT 8
#define PINGS_DEFAULT       100

/* What the functions below hand to each other. */
struct plan {
	struct run *run;
	struct worker *workers;
	int32_t *of_leader; /* partitions of the leader at hand */
	int32_t of_leader_count;
	int64_t made; /* connections, over all leaders and readers */
	uint64_t run_id;
	struct cluster_producer *producers; /* one for each connection, or NULL */
};

int64_t plan_shares(const int32_t *parts, int32_t count, int64_t connections, bool is_capped,
                    int64_t *shares)
{
	int64_t sum = 0;

	for (int32_t i = 0; i < count; i++) {
		shares[i] = parts[i] > 0;
		sum += shares[i];
	}
	while (sum < connections) {
		int32_t best = -1;

		for (int32_t i = 0; i < count; i++) {
			if (parts[i] == 0 || (is_capped && shares[i] >= parts[i]))
				continue;
			/* Most partitions for each of its connections: a/b > c/d is ad > cb. */
			if (best < 0 || parts[i] * shares[best] > parts[best] * shares[i])
				best = i;
		}
		if (best < 0)
			break;
		shares[best]++;
		sum++;
	}
	return sum;
}

static int make_producer(struct plan *plan, int32_t node, int64_t k, int64_t share)
{
	struct run *run = plan->run;
	struct worker *w = &plan->workers[plan->made % run->opts->threads];
	struct producer *p;
	int rc = producer_create(w, &run->cluster.nodes[node].addr, &p);

	for (int32_t i = 0; rc == 0 && i < plan->of_leader_count; i++) {
		int32_t partition = plan->of_leader[i];
		uint64_t key[3] = {plan->run_id, (uint64_t)plan->made, (uint64_t)partition};
		/* More connections than partitions: each has one partition, several share it. */
		bool is_ours = share <= plan->of_leader_count ? i % share == k
		                                              : k % plan->of_leader_count == i;

		if (is_ours)
			rc = producer_add(p, partition, sl_hash(key, sizeof(key), 0),
			                  plan->producers ? &plan->producers[plan->made] : NULL);
	}
	plan->made++;
	return rc;
}

static int make_consumer(struct plan *plan, int32_t node, int64_t k, int64_t share, int reader)
{
	struct run *run = plan->run;
	const struct options *o = run->opts;
	struct worker *w = &plan->workers[plan->made % o->threads];
	struct consumer *c;
	int rc = consumer_create(w, reader, &run->cluster.nodes[node].addr, &c);

	for (int32_t i = 0; rc == 0 && i < plan->of_leader_count; i++) {
		const struct cluster_partition *part = &run->cluster.partitions[plan->of_leader[i]];
		int64_t from = o->mode == LOAD_E2E ? LOAD_FROM_LATEST : o->from;
		int64_t offset = from == LOAD_FROM_EARLIEST ? part->earliest
		                 : from == LOAD_FROM_LATEST ? part->latest
		                                            : from;

		if (i % share == k)
			rc = consumer_add(c, plan->of_leader[i], offset,
			                  o->mode == LOAD_E2E || offset == 0);
	}
	plan->made++;
	return rc;
}

static void find_partitions(struct plan *plan, int32_t node)
{
	const struct cluster *c = &plan->run->cluster;

	plan->of_leader_count = 0;
	for (int32_t i = 0; i < c->partitions_count; i++)
		if (c->partitions[i].node == node)
			plan->of_leader[plan->of_leader_count++] = i;
}

/* @reader: -1 for producers. */
static int make_all(struct plan *plan, const int64_t *shares, int reader)
{
	int rc = 0;

	for (int32_t n = 0; n < plan->run->cluster.nodes_count; n++) {
		find_partitions(plan, n);
		for (int64_t k = 0; rc == 0 && k < shares[n]; k++)
			rc = reader < 0 ? make_producer(plan, n, k, shares[n])
			                : make_consumer(plan, n, k, shares[n], reader);
	}
	return rc;
}

/* Rate and number of records, by the streams that each thread has. */
static void share_rate(struct run *run, struct worker *workers)
{
	const struct options *o = run->opts;
	int64_t streams = 0, records_left = o->records;
	int64_t left;

	for (int64_t i = 0; i < o->threads; i++)
		streams += workers[i].streams_count;
	left = streams;
	for (int64_t i = 0; i < o->threads && streams > 0; i++) {
		struct worker *w = &workers[i];
		int64_t mine = w->streams_count;
		/* Of what is left, so that the last one that writes takes the remainder. */
		int64_t records = left > 0 ? records_left * mine / left : 0;

		left -= mine;
		records_left -= records;
		if (o->records > 0) {
			w->schedule.records_max = (uint64_t)records;
			w->budget = (uint64_t)records;
		}
		if (o->rate > 0 && mine > 0 && w->budget > 0)
			w->schedule.interval_ns = 1e9 / o->rate * (double)streams / (double)mine;
	}
}

static int make_producers(struct plan *plan, const int32_t *parts, int64_t wanted, int64_t *shares,
                          char *wrong, size_t wrong_bytes)
{
	struct cluster *c = &plan->run->cluster;
	int64_t sum = plan_shares(parts, c->nodes_count, wanted, false, shares);
	int rc = 0;

	if (plan->run->opts->is_idempotent) {
		plan->producers = calloc((size_t)sum, sizeof(*plan->producers));
		if (!plan->producers)
			return -ENOMEM;
		rc = cluster_producers(c, plan->producers, (int)sum, wrong, wrong_bytes);
	}
	if (rc == 0)
		rc = make_all(plan, shares, -1);
	free(plan->producers);
	plan->producers = NULL;
	return rc;
}

static int64_t make_pingers(struct run *run, struct worker *workers)
{
	const struct options *o = run->opts;
	int64_t count = o->connections ? o->connections : PINGS_DEFAULT;
	int64_t first = 0;

	for (int64_t i = 0; i < o->threads; i++) {
		int64_t mine = count / o->threads + (i < count % o->threads);
		int rc = pinger_create(&workers[i].pinger, &workers[i], first, mine,
		                       o->rate / (double)o->threads);

		if (rc != 0)
			return rc;
		first += mine;
	}
	return count;
}

int64_t plan_workers(struct run *run, struct worker *workers, char *wrong, size_t wrong_bytes)
{
	const struct options *o = run->opts;
	const struct cluster *c = &run->cluster;
	struct plan plan = {.run = run, .workers = workers};
	int32_t *parts = calloc((size_t)c->nodes_count, sizeof(*parts));
	int64_t *shares = calloc((size_t)c->nodes_count, sizeof(*shares));
	int64_t wanted = SL_MIN(c->partitions_count, CONNECTIONS_DEFAULT);
	int rc = -ENOMEM;

	snprintf(wrong, wrong_bytes, "no memory for the connections");
	if (o->mode == LOAD_CONNECTIONS) {
		free(parts);
		free(shares);
		return make_pingers(run, workers);
	}
	plan.of_leader = calloc((size_t)c->partitions_count, sizeof(*plan.of_leader));
	if (!parts || !shares || !plan.of_leader ||
	    getrandom(&plan.run_id, sizeof(plan.run_id), 0) != sizeof(plan.run_id))
		goto out;
	for (int32_t i = 0; i < c->partitions_count; i++)
		parts[c->partitions[i].node]++;
	if (o->connections > 0)
		wanted = o->connections;
	rc = 0;
	if (o->mode != LOAD_CONSUME)
		rc = make_producers(&plan, parts, wanted, shares, wrong, wrong_bytes);
	if (o->mode != LOAD_PRODUCE)
		plan_shares(parts, c->nodes_count, wanted, true, shares);
	for (int r = 0; rc == 0 && o->mode != LOAD_PRODUCE && r < (int)o->fan_out; r++)
		rc = make_all(&plan, shares, r);
	share_rate(run, workers);

out:
	free(plan.of_leader);
	free(parts);
	free(shares);
	return rc != 0 ? rc : plan.made;
}
