/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one place where a failure becomes one of Kafka's error codes: tables from errno and from
 * batch faults, and the names.  Constant data, any core.
 */
#include "sluice/wire/kerr.h"

#include <errno.h>

#include "sluice/wire/batch.h"

static const char *const names[] = {
#define NAME(name, code) [(code)-SL_KERR_MIN] = #name,
	SL_KERR_TABLE(NAME)
#undef NAME
};

_Static_assert(SL_ARRAY_SIZE(names) == SL_KERR_MAX - SL_KERR_MIN + 1,
               "codes have no gap at the end");

/* clang-format off */
static const struct {
	int err;
	enum sl_kerr kerr;
} map[] = {
	{0,          SL_KERR_NONE},
	/* The disk or its file system. */
	{EIO,        SL_KERR_KAFKA_STORAGE_ERROR},
	{ENOSPC,     SL_KERR_KAFKA_STORAGE_ERROR},
	{EDQUOT,     SL_KERR_KAFKA_STORAGE_ERROR},
	{EROFS,      SL_KERR_KAFKA_STORAGE_ERROR},
	/* What the client sent. */
	{EBADMSG,    SL_KERR_CORRUPT_MESSAGE},
	{EMSGSIZE,   SL_KERR_MESSAGE_TOO_LARGE},
	{EFBIG,      SL_KERR_RECORD_LIST_TOO_LARGE},
	{EINVAL,     SL_KERR_INVALID_REQUEST},
	{ENOTSUP,    SL_KERR_UNSUPPORTED_VERSION},
	{ERANGE,     SL_KERR_OFFSET_OUT_OF_RANGE},
	/* What we know of it. */
	{ENOENT,     SL_KERR_UNKNOWN_TOPIC_OR_PARTITION},
	{EEXIST,     SL_KERR_TOPIC_ALREADY_EXISTS},
	{EXDEV,      SL_KERR_NOT_LEADER_OR_FOLLOWER},
	{ESTALE,     SL_KERR_INVALID_PRODUCER_EPOCH},
	{EILSEQ,     SL_KERR_OUT_OF_ORDER_SEQUENCE_NUMBER},
	{EPROTO,     SL_KERR_INVALID_TXN_STATE},
	{EKEYREVOKED, SL_KERR_TRANSACTION_COORDINATOR_FENCED},
	{EPERM,      SL_KERR_CLUSTER_AUTHORIZATION_FAILED},
	{EACCES,     SL_KERR_CLUSTER_AUTHORIZATION_FAILED},
	{ETIMEDOUT,  SL_KERR_REQUEST_TIMED_OUT},
	/* The control process is away or behind; clients retry these. */
	{EAGAIN,     SL_KERR_COORDINATOR_LOAD_IN_PROGRESS},
	{EBUSY,      SL_KERR_COORDINATOR_LOAD_IN_PROGRESS},
	{EPIPE,      SL_KERR_COORDINATOR_NOT_AVAILABLE},
	{ECONNRESET, SL_KERR_COORDINATOR_NOT_AVAILABLE},
};
/* clang-format on */

const char *sl_kerr_name(int code)
{
	if (code < SL_KERR_MIN || code > SL_KERR_MAX || !names[code - SL_KERR_MIN])
		return "UNKNOWN_CODE";
	return names[code - SL_KERR_MIN];
}

enum sl_kerr sl_kerr_from_errno(int neg_errno)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(map); i++) {
		if (neg_errno == -map[i].err)
			return map[i].kerr;
	}
	return SL_KERR_UNKNOWN_SERVER_ERROR;
}

static const struct {
	enum sl_kerr kerr;
	const char *name;
	const char *text;
} faults[SL_BATCH_FAULT_NR] = {
#define FAULT(name, kerr, text) [SL_BATCH_FAULT_##name] = {SL_KERR_##kerr, #name, text},
	SL_BATCH_FAULTS(FAULT)
#undef FAULT
};

enum sl_kerr sl_kerr_from_batch(enum sl_batch_fault fault)
{
	return faults[fault].kerr;
}

const char *sl_batch_fault_text(enum sl_batch_fault fault)
{
	return faults[fault].text;
}

const char *sl_batch_fault_name(enum sl_batch_fault fault)
{
	return faults[fault].name;
}
