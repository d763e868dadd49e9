/* SPDX-License-Identifier: Apache-2.0 */
/* A control process in a folder of its own, with a data plane to talk to and clients to play. */
#ifndef TESTS_CONTROL_HARNESS_H
#define TESTS_CONTROL_HARNESS_H

#include "sluice/base/arena.h"
#include "sluice/base/conf.h"
#include "sluice/wire/apis.h"
#include "sluice/wire/kerr.h"

#include "control.h"
#include "fake_dataplane.h"
#include "offsets.h"
#include "publish.h"
#include "request.h"

struct harness {
	char dir[64];
	struct sl_conf conf;
	struct loop *loop;
	struct control *control;
	struct fake *fake;
	struct sl_arena arena; /* decoded answers */
	uint64_t seq;
	int64_t shift_ms; /* the clock runs this much ahead */
	/* The last answer. */
	struct fake_answer answer;
};

/* Starts both, attached and serving.  @lanes: of the data plane. */
void harness_init(struct harness *h, uint32_t lanes);
/* As above, without starting the control process: for tests that set h->conf first. */
void harness_prepare(struct harness *h, uint32_t lanes);
void harness_fini(struct harness *h);
void harness_set(struct harness *h, const char *key, const char *value);

/* Control process: start, stop like SIGTERM, start again. */
void harness_start_control(struct harness *h);
void harness_stop_control(struct harness *h);
/* Data plane: dies and comes back. */
void harness_restart_fake(struct harness *h, uint32_t lanes);

typedef bool harness_cond(struct harness *h, void *arg);
/* Runs the loop until @cond holds; fails the test when it does not within 10 seconds. */
void harness_until(struct harness *h, harness_cond *cond, void *arg, const char *what);
/* Until an image of the present attachment is served. */
void harness_until_served(struct harness *h);
/* A few rounds of the loop. */
void harness_spin(struct harness *h, int rounds);
/* Moves the clock forward, so that timers fire. */
void harness_advance(struct harness *h, int64_t ms);

/* Sends a frame; returns the request's number. */
uint64_t harness_send_frame(struct harness *h, uint32_t lane, const void *frame, size_t len);
/* Waits for the answer, into h->answer. */
void harness_wait(struct harness *h, uint64_t seq);

typedef void harness_encode(const void *m, struct sl_buf *b, int16_t version);
typedef int harness_decode(void *m, struct sl_cursor *c, struct sl_arena *arena, int16_t version);
uint64_t harness_send(struct harness *h, uint32_t lane, enum sl_api_key key, int16_t version,
                      harness_encode *encode, const void *req);
/* Decodes h->answer, which must be one to this API and version, completely. */
void harness_decode_answer(struct harness *h, enum sl_api_key key, int16_t version,
                           harness_decode *decode, void *resp);

/* CALL(h, create_topics, CREATE_TOPICS, 7, &req, &resp): over lane 0. */
#define SEND(h, lane, api, KEY, version, req)        \
	harness_send(h, lane, SL_API_##KEY, version, \
	             (harness_encode *)(void *)sl_##api##_req_encode, req)
#define TAKE(h, api, KEY, version, resp)                \
	harness_decode_answer(h, SL_API_##KEY, version, \
	                      (harness_decode *)(void *)sl_##api##_resp_decode, resp)
#define CALL(h, api, KEY, version, req, resp)                        \
	do {                                                         \
		harness_wait(h, SEND(h, 0, api, KEY, version, req)); \
		TAKE(h, api, KEY, version, resp);                    \
	} while (0)

/* Creates a topic and expects success. */
void harness_create_topic(struct harness *h, const char *name, int32_t partitions);
/* Value of a config in the image that the data plane has; "" when it has none.  Valid until the
 * next call. */
const char *harness_image_config(struct harness *h, const char *topic, const char *name);

#endif
