/* SPDX-License-Identifier: Apache-2.0 */
/* Frame builder; it writes bytes at their places and uses none of the structs of the program under
 * test. */
#include "packet.h"

#include <arpa/inet.h>
#include <string.h>

#include <criterion/criterion.h>

#include "sluice/base/base.h"

#define ETH_IPV4     0x0800
#define ETH_VLAN     0x8100
#define ETH_IPV6     0x86dd
#define PROTO_TCP    6
#define EXT_HOPOPTS  0
#define EXT_FRAGMENT 44
#define EXT_BYTES    8
#define TCP_BYTES    20

static size_t put_eth(const struct packet_spec *spec, uint16_t ethertype, uint8_t *p)
{
	size_t pos = 12;

	memset(p, 2, pos);
	for (int i = 0; i < spec->tags; i++) {
		sl_store_be16(p + pos, ETH_VLAN);
		sl_store_be16(p + pos + 2, (uint16_t)(10 + i));
		pos += 4;
	}
	sl_store_be16(p + pos, spec->ethertype ? spec->ethertype : ethertype);
	return pos + 2;
}

static size_t put_ipv4(const struct packet_spec *spec, const struct in_addr *source, uint8_t *p)
{
	uint8_t words = spec->ihl ? spec->ihl : 5;

	p[0] = (uint8_t)(0x40 | words);
	sl_store_be16(p + 2, (uint16_t)(words * 4 + TCP_BYTES));
	sl_store_be16(p + 6, spec->fragment);
	p[8] = 64;
	p[9] = spec->protocol ? spec->protocol : PROTO_TCP;
	memcpy(p + 12, source, sizeof(*source));
	p[16] = 10;
	return words * 4u;
}

static uint8_t ext_number(uint8_t ext)
{
	return ext == PACKET_EXT_HOPOPTS ? EXT_HOPOPTS : ext;
}

static size_t put_ipv6(const struct packet_spec *spec, const struct in6_addr *source, uint8_t *p)
{
	uint8_t protocol = spec->protocol ? spec->protocol : PROTO_TCP;
	size_t pos = 40;

	p[0] = 0x60;
	p[6] = spec->exts[0] ? ext_number(spec->exts[0]) : protocol;
	p[7] = 64;
	memcpy(p + 8, source, sizeof(*source));
	p[24] = 0xfd;
	for (int i = 0; i < PACKET_EXTS_MAX && spec->exts[i]; i++) {
		bool is_last = i + 1 == PACKET_EXTS_MAX || !spec->exts[i + 1];

		p[pos] = is_last ? protocol : ext_number(spec->exts[i + 1]);
		if (spec->exts[i] == EXT_FRAGMENT) {
			sl_store_be16(p + pos + 2, (uint16_t)(spec->ext_fragment << 3));
		} else {
			p[pos + 1] = spec->ext_len;
			pos += spec->ext_len * EXT_BYTES;
		}
		pos += EXT_BYTES;
	}
	return pos;
}

static size_t put_tcp(const struct packet_spec *spec, uint8_t *p)
{
	sl_store_be16(p, 40000);
	sl_store_be16(p + 2, spec->port);
	p[12] = (uint8_t)((spec->doff ? spec->doff : 5) << 4);
	p[13] = spec->flags;
	return TCP_BYTES;
}

size_t packet_build(const struct packet_spec *spec, uint8_t frame[PACKET_BYTES_MAX])
{
	struct in6_addr in6;
	struct in_addr in4;
	size_t pos;

	memset(frame, 0, PACKET_BYTES_MAX);
	if (inet_pton(AF_INET, spec->source, &in4) == 1) {
		pos = put_eth(spec, ETH_IPV4, frame);
		pos += put_ipv4(spec, &in4, frame + pos);
	} else {
		cr_assert(inet_pton(AF_INET6, spec->source, &in6) == 1);
		pos = put_eth(spec, ETH_IPV6, frame);
		pos += put_ipv6(spec, &in6, frame + pos);
	}
	pos += put_tcp(spec, frame + pos);
	cr_assert(pos <= PACKET_BYTES_MAX && spec->cut < pos);
	return pos - spec->cut;
}
