/* Nodes, their offers and execution profiles. Called by handlers/nodes.c, by the job code (candidates) and by verdicts
 * (was this key registered?). Every function is one statement or one transaction; no locks of its own. */
#ifndef OPGATE_DB_NODES_H
#define OPGATE_DB_NODES_H

#include "db/rates.h"
#include "db/registry.h"

#define NODE_URL_MAX 256
#define NODE_OFFERS_MAX 256
#define NODE_PROFILE_MAX 8192

struct node_row {
	struct address address, operator_; /* the operator account's address */
	char url[NODE_URL_MAX];
	char state[16]; /* active, draining, banned */
	int64_t registered_at, heartbeat_at; /* wall ms */
	int64_t heartbeat_age_ms;            /* by the database's clock */
};

/* A registration that was checked: both signatures, gateway, chain, time, URL. */
struct node_registration {
	struct address node, operator_;
	const char *url;
	int64_t issued_at;              /* wall ms, from the signed statement */
	const char *text;               /* JSON form as the node signed it */
	const char *operator_signature; /* 0x… */
};

/* Stores it and makes the operator's account when new. The very registration already stored is accepted and changes
 * nothing. ERR_CONFLICT: an equal or newer one is stored; ERR_FORBIDDEN: the node is banned. */
enum err db_node_register(struct db *db, const struct node_registration *registration) WARN_UNUSED;
/* Is exactly this registration the stored one? (Its time stamp may be old then: nothing changes.) */
enum err db_node_registration_known(struct db *db, const struct address *node, const char *text, bool *ret) WARN_UNUSED;
enum err db_node_get(struct db *db, const struct address *node, struct node_row *ret) WARN_UNUSED; /* ERR_NOT_FOUND */
/* In order of address, after `after` (NULL: from the start); at most max. */
enum err db_nodes_list(struct db *db, const struct address *after, struct node_row *ret, size_t max, size_t *ret_count) WARN_UNUSED;
enum err db_node_heartbeat(struct db *db, const struct address *node) WARN_UNUSED; /* ERR_NOT_FOUND, ERR_FORBIDDEN when banned */
enum err db_node_drain(struct db *db, const struct address *node) WARN_UNUSED;     /* likewise */

struct offer_new {
	struct hash digest;
	struct listed_price ask;
	int64_t capacity;
	const char *precision;
	const char *profile; /* document text */
	struct hash profile_hash;
};

/* The node's whole set of offers from now on: those not named are withdrawn. ERR_UNPROCESSABLE: *ret_bad is the index of
 * an offer whose digest is no published version; ERR_FORBIDDEN when banned; ERR_NOT_FOUND when not registered. */
enum err db_offers_replace(struct db *db, const struct address *node, const struct offer_new *offers, size_t count, size_t *ret_bad) WARN_UNUSED;

/* The offers of one node as JSON: [{"model","version","digest","surface","ask":{"currency","input","output"},"capacity","precision",
 * "profile_hash","state"}], new reference. */
enum err db_offers_of_node(struct db *db, const struct address *node, json_t **ret) WARN_UNUSED;

/* A candidate for a job. */
struct offer_row {
	struct address node;
	char url[NODE_URL_MAX];
	int64_t operator_account;
	struct amount ask_input, ask_output; /* in OPG, by the rate of the moment */
	bool usd;                            /* the node asks in USD: what moves is the rate */
	int64_t capacity;
	struct hash profile_hash;
	int64_t registered_at; /* wall ms */
};

/* A published version by what a caller names (db_version_resolve), and the ready offers of it by active nodes heard of within node_timeout_ms,
 * cheapest first; those in USD only while there is a good rate. ERR_MODEL_NOT_FOUND. */
enum err db_version_offered(struct db *db, const char *ref, int64_t node_timeout_ms, struct version_row *ret_version, struct offer_row *ret, size_t max,
			    size_t *ret_count) WARN_UNUSED;

struct asked_when { /* wall ms */
	int64_t since, until; /* a rate of this time counts */
	bool changed;         /* and the ask before the present one, if it was still offered at `since` */
};
/* What a node asked itself for a version, at most these: the most of it, in OPG. ERR_NOT_FOUND: it never asked so little. */
enum err db_offer_asked(struct db *db, int64_t version_id, const struct address *node, const struct asked_when *when, struct amount most_input,
			struct amount most_output, struct amount *ret_input, struct amount *ret_output) WARN_UNUSED;

/* A key that is or was registered for a version. */
struct node_registered {
	struct address operator_;
	int64_t operator_account;
	struct hash profile_hash;
	int64_t registered_at; /* wall ms: of the key's first registration */
	bool ready;            /* offers it now */
};

/* ERR_NOT_FOUND: this key never offered that version. */
enum err db_node_registered(struct db *db, const struct address *node, const struct hash *digest, struct node_registered *ret) WARN_UNUSED;

enum err db_profile_get(struct db *db, const struct hash *hash, char **ret_document) WARN_UNUSED; /* caller frees; ERR_NOT_FOUND */

#endif
