/* SPDX-License-Identifier: Apache-2.0 */
/* Builds the frames that the XDP program is tested with. */
#ifndef TEST_KERN_PACKET_H
#define TEST_KERN_PACKET_H

#include <stddef.h>
#include <stdint.h>

#define PACKET_BYTES_MAX 512
#define PACKET_TAGS_MAX  2
#define PACKET_EXTS_MAX  8

enum packet_flag {
	PACKET_FIN = 0x01,
	PACKET_SYN = 0x02,
	PACKET_RST = 0x04,
	PACKET_PSH = 0x08,
	PACKET_ACK = 0x10,
	PACKET_URG = 0x20,
	PACKET_ECE = 0x40,
	PACKET_CWR = 0x80,
};

/* Zeroed fields mean the ordinary: no tag, no option, TCP, 5 words of TCP header. */
struct packet_spec {
	const char *source; /* "10.1.2.3" or "2001:db8::1" */
	uint16_t port;
	uint8_t flags;                 /* enum packet_flag */
	uint8_t doff;                  /* 32-bit words claimed; 0: 5 */
	uint8_t tags;                  /* VLAN tags */
	uint8_t ihl;                   /* IPv4 header in words, built and claimed; 0: 5 */
	uint8_t protocol;              /* 0: TCP */
	uint16_t ethertype;            /* 0: by the source's family */
	uint16_t fragment;             /* IPv4: offset in 8 bytes */
	uint8_t exts[PACKET_EXTS_MAX]; /* IPv6 extension headers; 0 ends; 1 stands for hop-by-hop */
	uint8_t ext_len;               /* bytes of each extension header beyond 8, in 8 */
	uint16_t ext_fragment;         /* offset in the IPv6 fragment header, in 8 bytes */
	uint16_t cut;                  /* bytes taken off the end */
};

#define PACKET_EXT_HOPOPTS 1 /* its real number is 0 */

/* Return: bytes of the frame. */
size_t packet_build(const struct packet_spec *spec, uint8_t frame[PACKET_BYTES_MAX]);

#endif
