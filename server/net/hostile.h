/* The judgement of addresses that users chose. Pure: no I/O, no state. */
#ifndef OPGATE_NET_HOSTILE_H
#define OPGATE_NET_HOSTILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* Is this a public unicast address? IPv4 hidden in IPv6 (mapped, compatible, NAT64, 6to4) is judged as IPv4. */
bool address4_is_public(const uint8_t ip[4]);
bool address6_is_public(const uint8_t ip[16]);
bool sockaddr_is_public(const struct sockaddr *sa, socklen_t len); /* other families are not */
bool address_text_is_public(const char *ip); /* as inet_pton reads it; what it cannot read is not public */

#endif
