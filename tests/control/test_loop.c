/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "loop.h"

struct clock {
	int64_t now_ms;
};

static int64_t clock_now(void *arg)
{
	return ((struct clock *)arg)->now_ms;
}

static struct loop *make_loop(struct clock *c)
{
	struct loop_clock clock = {clock_now, clock_now, c};
	struct loop *l;

	cr_assert_eq(loop_create(&l, &clock), 0);
	return l;
}

static void poll_once(struct loop *l, int wanted)
{
	cr_assert_eq(loop_poll(l, 0), wanted);
}

struct probe {
	struct loop *loop;
	struct loop_timer timer;
	struct loop_timer *stop;
	int hits;
	int64_t at_ms;
	int *order;
	int id;
};

static int fired[256];
static int fired_count;

static void on_timer(void *arg)
{
	struct probe *p = arg;

	p->hits++;
	p->at_ms = loop_mono_ms(p->loop);
	fired[fired_count++] = p->id;
	if (p->stop)
		loop_timer_stop(p->loop, p->stop);
}

Test(loop, runs_timers_in_order_of_their_time)
{
	struct clock c = {1000};
	struct loop *l = make_loop(&c);
	static struct probe p[100];

	for (int i = 0; i < 100; i++) {
		int at = (i * 37) % 100;

		p[i] = (struct probe){.loop = l, .id = at};
		p[i].timer = (struct loop_timer){.fn = on_timer, .arg = &p[i]};
		cr_assert_eq(loop_timer_set(l, &p[i].timer, 1000 + at), 0);
	}
	poll_once(l, 1);
	cr_assert_eq(p[0].hits, 1);
	c.now_ms = 1049;
	poll_once(l, 49);
	c.now_ms = 5000;
	poll_once(l, 50);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(fired[i], i);
	loop_destroy(l);
}

Test(loop, moves_and_stops_timers)
{
	struct clock c = {0};
	struct loop *l = make_loop(&c);
	struct probe a = {.loop = l, .id = 1}, b = {.loop = l, .id = 2};

	a.timer = (struct loop_timer){.fn = on_timer, .arg = &a};
	b.timer = (struct loop_timer){.fn = on_timer, .arg = &b};
	a.stop = &b.timer;
	cr_assert_eq(loop_timer_set(l, &a.timer, 10), 0);
	cr_assert_eq(loop_timer_set(l, &b.timer, 10), 0);
	cr_assert_eq(loop_timer_set(l, &a.timer, 5), 0);
	c.now_ms = 20;
	poll_once(l, 1);
	cr_assert_eq(a.hits, 1);
	cr_assert_eq(b.hits, 0);
	loop_timer_stop(l, &b.timer);
	poll_once(l, 0);
	loop_destroy(l);
}

struct reader {
	struct loop *loop;
	struct loop_fd fd;
	struct loop_fd *victim;
	int hits;
};

static void on_readable(void *arg, uint32_t events)
{
	struct reader *r = arg;

	cr_assert(events & EPOLLIN);
	r->hits++;
	if (r->victim)
		loop_fd_del(r->loop, r->victim);
}

Test(loop, delivers_no_event_to_a_descriptor_removed_in_the_same_round)
{
	struct loop *l = make_loop(&(struct clock){0});
	struct reader a = {.loop = l}, b = {.loop = l};

	a.fd = (struct loop_fd){eventfd(1, EFD_NONBLOCK), on_readable, &a};
	b.fd = (struct loop_fd){eventfd(1, EFD_NONBLOCK), on_readable, &b};
	a.victim = &b.fd;
	b.victim = &a.fd;
	cr_assert_eq(loop_fd_add(l, &a.fd, EPOLLIN), 0);
	cr_assert_eq(loop_fd_add(l, &b.fd, EPOLLIN), 0);
	poll_once(l, 1);
	cr_assert_eq(a.hits + b.hits, 1);
	poll_once(l, 1);
	cr_assert_eq(a.hits + b.hits, 2, "the one that is left goes on");
	loop_fd_del(l, a.hits ? &a.fd : &b.fd);
	close(a.fd.fd);
	close(b.fd.fd);
	loop_destroy(l);
}

struct worker {
	struct loop *loop;
	struct loop_work work;
	int hits;
	int repeats;
};

static void on_work(void *arg)
{
	struct worker *w = arg;

	w->hits++;
	if (w->repeats-- > 0)
		loop_work_post(w->loop, &w->work);
}

Test(loop, runs_work_once_and_what_it_posts_in_the_next_round)
{
	struct loop *l = make_loop(&(struct clock){0});
	struct worker w = {.loop = l, .repeats = 1};

	loop_work_init(&w.work, on_work, &w);
	loop_work_post(l, &w.work);
	loop_work_post(l, &w.work);
	poll_once(l, 1);
	cr_assert_eq(w.hits, 1);
	poll_once(l, 1);
	poll_once(l, 0);
	cr_assert_eq(w.hits, 2);
	loop_work_post(l, &w.work);
	loop_work_cancel(&w.work);
	poll_once(l, 0);
	loop_destroy(l);
}
