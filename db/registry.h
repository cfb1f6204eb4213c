/* Models, versions, files, and what the market asks for them. Called by handlers/{models,versions,files}.c and by the job
 * code (db_version_resolve). Functions are one statement each unless they say otherwise; strings live in the given arena.
 * Whoever writes names the account that must own what is written. */
#ifndef OPGATE_DB_REGISTRY_H
#define OPGATE_DB_REGISTRY_H

#include "base/arena.h"
#include "db/rates.h"

#define MODEL_NAME_MAX 96
#define MODEL_REF_MAX 160 /* author/name, NUL included */
#define VERSION_REF_MAX 256
#define VERSION_FILES_MAX 256

/* "author/name" taken apart: the author is a handle, or an address in 0x form. */
struct model_ref {
	char handle[64];        /* "" when by address */
	struct address address;
	char name[MODEL_NAME_MAX + 1];
};
enum err model_ref_parse(const char *author, const char *name, struct model_ref *ret) WARN_UNUSED;      /* ERR_NOT_FOUND: cannot name a model */
enum err model_ref_parse_id(const char *id, size_t len, struct model_ref *ret) WARN_UNUSED;             /* "author/name" */
bool model_name_ok(const char *name);

struct model_row {
	int64_t id, author;
	const char *ref;   /* author/name, as shown */
	const char *owner; /* its first half */
	const char *name, *title, *description;
	int64_t created_at; /* wall ms */
};
enum err db_model_create(struct db *db, int64_t author, const char *name, const char *title, const char *description) WARN_UNUSED; /* ERR_CONFLICT */
enum err db_model_get(struct db *db, struct arena *arena, const struct model_ref *ref, struct model_row *ret) WARN_UNUSED;         /* ERR_NOT_FOUND */
/* NULL leaves a member as it is. ERR_NOT_FOUND: not the author's. */
enum err db_model_patch(struct db *db, int64_t model, int64_t author, const char *title, const char *description) WARN_UNUSED;

#define MODEL_SHARES_MAX 8
struct model_share { /* a co-author's part of the royalty; the owner has the rest */
	struct address address;
	uint32_t bps;
};
/* Replaces all; from the next capture on. ERR_UNPROCESSABLE: more than the whole, or the owner is among them. */
enum err db_model_shares_set(struct db *db, int64_t model, const struct model_share *shares, size_t count) WARN_UNUSED;
enum err db_model_shares(struct db *db, int64_t model, struct model_share *ret /* MODEL_SHARES_MAX */, size_t *ret_count) WARN_UNUSED;

/* One version; for the job code everything a hold needs. */
struct version_row {
	int64_t id, model, author; /* internal keys */
	struct address author_address;
	char model_ref[MODEL_REF_MAX];
	int64_t number;
	char surface[8]; /* "tensor" or "chat" */
	struct listed_price royalty;
	struct amount royalty_input, royalty_output; /* in OPG, by the rate of the moment */
	bool priced;                                 /* false: in USD, and no good rate; the two above mean nothing */
	int64_t max_output_units;
	bool published;
	struct hash digest; /* zero while a draft */
	int64_t created_at, published_at; /* wall ms; 0 while a draft */
};

/* A published version by what a caller names: "author/name" (the newest), "author/name@3", "author/name@sha256:…" or
 * "sha256:…". ERR_MODEL_NOT_FOUND for everything else. */
enum err db_version_resolve(struct db *db, const char *ref, struct version_row *ret) WARN_UNUSED;
/* The newest published version of the one model of this name, whoever the author is. ERR_CONFLICT: several authors have one. */
enum err db_version_of_name(struct db *db, const char *name, struct version_row *ret) WARN_UNUSED;
enum err db_version_by_number(struct db *db, int64_t model, int64_t number, struct version_row *ret) WARN_UNUSED; /* drafts too; ERR_NOT_FOUND */
/* Newest first; drafts only when asked for. */
enum err db_versions_list(struct db *db, struct arena *arena, int64_t model, bool drafts, int64_t below, size_t max,
			  struct version_row **ret, size_t *ret_count) WARN_UNUSED;

struct version_new {
	int64_t model, author;
	const char *surface;
	struct listed_price royalty;
	int64_t max_output_units;
};
enum err db_version_create(struct db *db, const struct version_new *version, struct version_row *ret) WARN_UNUSED; /* ERR_NOT_FOUND: not the author's */

struct file_row {
	const char *path;
	struct hash sha256;
	int64_t size;
};
/* Sorted by the bytes of the path. */
enum err db_version_files(struct db *db, struct arena *arena, int64_t version, struct file_row **ret, size_t *ret_count) WARN_UNUSED;
enum err db_version_file(struct db *db, int64_t version, const char *path, struct file_row *ret) WARN_UNUSED; /* path borrowed; ERR_NOT_FOUND */
enum err db_version_manifest(struct db *db, struct arena *arena, int64_t version, const char **ret) WARN_UNUSED; /* NULL while a draft */
/* Adds or replaces a file of a draft. ERR_CONFLICT: published meanwhile, not the author's, or VERSION_FILES_MAX reached. */
enum err db_file_put(struct db *db, int64_t version, int64_t author, const struct file_row *file) WARN_UNUSED;

/* The two halves of a publication, inside one db_transaction: lock the draft (no file changes from then on), then publish. */
enum err db_version_lock(struct db *db, int64_t version, int64_t author, bool *ret_published) WARN_UNUSED; /* ERR_NOT_FOUND: not the author's */
enum err db_version_publish(struct db *db, int64_t version, const struct hash *digest, const char *manifest) WARN_UNUSED; /* ERR_CONFLICT: digest taken */

/* A model with its newest published version and its cheapest ready offer. */
struct model_listed {
	struct model_row model;
	struct version_row version;
	int64_t offers;              /* ready, of nodes heard of lately */
	bool asked;                  /* one of them has a price in OPG now */
	struct amount ask_input, ask_output; /* of the cheapest, in OPG; meaningless unless asked */
};
struct model_filter {
	int64_t model;          /* only this one; 0: all */
	const struct model_ref *author; /* only this author (the name is not looked at); may be NULL */
	const char *surface;    /* NULL: both */
	int64_t before;         /* models with smaller keys only; 0: from the newest */
	size_t max;
	int64_t node_timeout_ms;
};
enum err db_models_list(struct db *db, struct arena *arena, const struct model_filter *filter, struct model_listed **ret, size_t *ret_count) WARN_UNUSED;

/* Models whose newest published version is served right now, in the order they were made. surface NULL: both. *ret_total: without
 * offset and max. */
struct model_served {
	struct version_row version;
	int64_t changed_at; /* wall ms: published, or the last change of an offer */
};
enum err db_models_served(struct db *db, struct arena *arena, const char *surface, int64_t node_timeout_ms, int64_t offset, size_t max, struct model_served **ret,
			  size_t *ret_count, int64_t *ret_total) WARN_UNUSED;

/* A ready offer for any published version of a model, as the public may see it. */
struct model_offer {
	struct address node, operator_;
	struct listed_price ask;
	bool priced;
	struct amount ask_input, ask_output; /* in OPG, when priced */
	int64_t capacity, version;
	const char *precision;
	struct hash profile_hash, digest;
};
enum err db_model_offers(struct db *db, struct arena *arena, int64_t model, int64_t node_timeout_ms, struct model_offer **ret, size_t *ret_count) WARN_UNUSED;

#endif
