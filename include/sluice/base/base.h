/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few macros and value types that every component uses: checked results, endian access,
 * borrowed strings and bytes, UUIDs.
 */
#ifndef SLUICE_BASE_BASE_H
#define SLUICE_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SL_MUST_CHECK                      __attribute__((warn_unused_result))
#define SL_PRINTF(fmt, args)               __attribute__((format(printf, fmt, args)))
#define SL_NORETURN                        __attribute__((noreturn))
#define SL_UNUSED                          __attribute__((unused))
#define SL_PACKED                          __attribute__((packed))
#define SL_CACHE_LINE                      64
#define SL_CACHE_ALIGNED                   __attribute__((aligned(SL_CACHE_LINE)))

#define SL_ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define SL_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
/* Each argument is evaluated once, so that getters may stand in it. */
#define SL_MIN(a, b)                       SL_PICK_(a, b, <, SL_JOIN_(sl_a_, __COUNTER__), SL_JOIN_(sl_b_, __COUNTER__))
#define SL_MAX(a, b)                       SL_PICK_(a, b, >, SL_JOIN_(sl_a_, __COUNTER__), SL_JOIN_(sl_b_, __COUNTER__))
#define SL_JOIN_(a, b)                     SL_JOIN2_(a, b)
#define SL_JOIN2_(a, b)                    a##b
#define SL_PICK_(a, b, op, x, y)     \
	(__extension__({             \
		__auto_type x = (a); \
		__auto_type y = (b); \
		x op y ? x : y;      \
	}))
#define SL_ALIGN_UP(x, to) (((x) + ((to)-1)) & ~((to)-1)) /* @to: a power of two */

#define sl_likely(x)       __builtin_expect(!!(x), 1)
#define sl_unlikely(x)     __builtin_expect(!!(x), 0)

/*
 * A borrowed string: not NUL-terminated.
 * States: {NULL, -1} Kafka's null; {any, 0} empty; {p, n} n bytes.  Zeroed memory is empty.
 */
struct sl_str {
	const char *p;
	int32_t len;
};

/* Borrowed bytes; the same states as struct sl_str. */
struct sl_bytes {
	const void *p;
	int32_t len;
};

struct sl_uuid {
	uint8_t b[16];
};

#define SL_STR_NULL   ((struct sl_str){NULL, -1})
#define SL_BYTES_NULL ((struct sl_bytes){NULL, -1})
/* For printf's "%.*s". */
#define SL_STR_ARG(s) ((s).len > 0 ? (int)(s).len : 0), ((s).len > 0 ? (s).p : "")

static inline struct sl_str sl_str_from(const char *cstr)
{
	return cstr ? (struct sl_str){cstr, (int32_t)strlen(cstr)} : SL_STR_NULL;
}

static inline bool sl_str_is_null(struct sl_str s)
{
	return s.len < 0;
}

static inline bool sl_str_eq(struct sl_str a, struct sl_str b)
{
	return a.len == b.len && (a.len <= 0 || memcmp(a.p, b.p, (size_t)a.len) == 0);
}

static inline bool sl_str_eq_c(struct sl_str a, const char *b)
{
	return sl_str_eq(a, sl_str_from(b));
}

static inline bool sl_uuid_is_zero(const struct sl_uuid *u)
{
	static const struct sl_uuid zero;

	return memcmp(u, &zero, sizeof(zero)) == 0;
}

static inline bool sl_uuid_eq(const struct sl_uuid *a, const struct sl_uuid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* Big-endian (network order) access to unaligned memory. */
static inline uint16_t sl_load_be16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap16(v);
}

static inline uint32_t sl_load_be32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap32(v);
}

static inline uint64_t sl_load_be64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap64(v);
}

static inline void sl_store_be16(void *p, uint16_t v)
{
	v = __builtin_bswap16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void sl_store_be32(void *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void sl_store_be64(void *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof(v));
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "Sluice is written for little-endian CPUs");

#endif
