/* SPDX-License-Identifier: Apache-2.0 */
/* What a topic's overrides and the broker's defaults mean to the hot path. */
#ifndef DATAPLANE_HOST_TOPIC_CONFIG_H
#define DATAPLANE_HOST_TOPIC_CONFIG_H

#include "image.h"
#include "sluice/base/conf.h"

struct sl_image_topic;

/* A config of @rec wins, then the broker key that is its synonym.  One that cannot be read is
 * logged and left out: the control process checked it, so the two processes differ. */
void topic_config_make(struct topic_config *out, const struct sl_conf *conf,
                       const struct sl_image_topic *rec);
/* What lanes have to be told about. */
bool topic_config_is_log_equal(const struct topic_config *a, const struct topic_config *b);

#endif
