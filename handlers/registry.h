/* Shared by models.c, versions.c and files.c: finding what the path names, who may see and change it, and its JSON. */
#ifndef OPGATE_HANDLERS_REGISTRY_H
#define OPGATE_HANDLERS_REGISTRY_H

#include "db/registry.h"
#include "handlers/app.h"

/* The model of {author}/{name}. ERR_MODEL_NOT_FOUND with words. */
enum err registry_model(struct request *req, struct model_row *ret) WARN_UNUSED;
/* The same, when the caller owns it; ERR_FORBIDDEN for somebody else's published model, ERR_MODEL_NOT_FOUND for an unpublished one. */
enum err registry_model_owned(struct request *req, struct model_row *ret) WARN_UNUSED;
bool registry_owns(const struct request *req, int64_t author);
/* A draft of an owned model by its number in {version}. ERR_CONFLICT when it is published. */
enum err registry_draft(struct request *req, struct version_row *ret) WARN_UNUSED;
enum err registry_not_found(struct request *req, const char *ref) WARN_UNUSED;

const char *registry_digest(struct arena *arena, const struct hash *digest); /* "sha256:…" */
json_t *registry_price(const struct listed_price *p); /* {"currency","input","output"} */
/* The same, read from a caller's object; `what` names it in words about what is wrong. */
enum err registry_price_read(struct request *req, const char *what, const json_t *object, bool output_required, struct listed_price *ret) WARN_UNUSED;
/* Without files and manifest. */
json_t *registry_version_json(struct arena *arena, const struct version_row *v);

#endif
