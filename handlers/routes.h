/* The whole API on one screen. A new endpoint: one line here, its function in handlers/<resource>.c, its test in tests/api/.
 * method, pattern, function (handle_…), mode, auth, scope, role, body bytes, rate class, error shape, request schema, response schema, summary */
#ifndef OPGATE_HANDLERS_ROUTES_H
#define OPGATE_HANDLERS_ROUTES_H

#include "http/http.h"

#define KB (1024u)
#define MB (1024u * 1024u)
#define TB (1024ull * 1024 * MB) /* uploads: the setting upload_max_bytes is the bound that counts */

#define ROUTES(X) \
/* operations */ \
X(GET,   "/livez",                 livez,          INLINE, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, "Health", "The process runs") \
X(GET,   "/readyz",                readyz,         WORKER, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, "Health", "Dependencies answer; not ready means no new paid work") \
X(GET,   "/metrics",               metrics,        INLINE, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, NULL, "Prometheus metrics") \
X(GET,   "/openapi.json",          openapi,        INLINE, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, NULL, "This document") \
/* accounts */ \
X(GET,   "/v1/auth/nonce",         auth_nonce,     WORKER, PUBLIC,   NULL, NULL, 0, "auth", PROBLEM, NULL, "Nonce", "A nonce for one sign-in") \
X(POST,  "/v1/auth/siwe",          auth_siwe,      WORKER, PUBLIC,   NULL, NULL, 8 * KB, "auth", PROBLEM, "SignIn", "Token", "Sign in with Ethereum (EIP-4361)") \
X(POST,  "/v1/auth/refresh",       auth_refresh,   WORKER, ACCOUNT,  NULL, NULL, KB, "auth", PROBLEM, NULL, "Token", "A new token for a valid one") \
X(GET,   "/v1/me",                 me_get,         WORKER, ACCOUNT,  "read", NULL, 0, "read", PROBLEM, NULL, "Account", "Who is calling") \
X(PATCH, "/v1/me",                 me_patch,       WORKER, ACCOUNT,  "registry", NULL, 4 * KB, "write", PROBLEM, "AccountPatch", "Account", "Choose a handle") \
X(GET,   "/v1/keys",               keys_list,      WORKER, ACCOUNT,  "read", NULL, 0, "read", PROBLEM, NULL, "KeyList", "API keys of the caller") \
X(POST,  "/v1/keys",               keys_create,    WORKER, ACCOUNT,  "keys", NULL, 4 * KB, "write", PROBLEM, "KeyCreate", "KeyCreated", "Make an API key; its text is shown once") \
X(DELETE,"/v1/keys/{id}",          keys_revoke,    WORKER, ACCOUNT,  "keys", NULL, 0, "write", PROBLEM, NULL, NULL, "Revoke a key at once") \
/* registry */ \
X(GET,   "/v1/models",             models_list,    WORKER, OPTIONAL, NULL, NULL, 0, "read", BOTH, NULL, "ModelList", "Published models (a superset of OpenAI's list)") \
X(POST,  "/v1/models",             models_create,  WORKER, ACCOUNT,  "registry", NULL, 64 * KB, "write", PROBLEM, "ModelCreate", "Model", "Create a model") \
X(GET,   "/v1/models/{author}/{name}", models_get, WORKER, OPTIONAL, NULL, NULL, 0, "read", BOTH, NULL, "Model", "One model with its versions and offers") \
X(GET,   "/v1/models/{model}",     models_get_one, WORKER, OPTIONAL, NULL, NULL, 0, "read", BOTH, NULL, "Model", "The same, id as one segment with %2F") \
X(PATCH, "/v1/models/{author}/{name}", models_patch, WORKER, ACCOUNT, "registry", NULL, 64 * KB, "write", PROBLEM, "ModelPatch", "Model", "Change title or description") \
X(GET,   "/v1/models/{author}/{name}/versions", versions_list, WORKER, OPTIONAL, NULL, NULL, 0, "read", PROBLEM, NULL, "VersionList", "Versions of a model") \
X(POST,  "/v1/models/{author}/{name}/versions", versions_create, WORKER, ACCOUNT, "registry", NULL, 16 * KB, "write", PROBLEM, "VersionCreate", "Version", "Add a draft version") \
X(GET,   "/v1/models/{author}/{name}/versions/{version}", versions_get, WORKER, OPTIONAL, NULL, NULL, 0, "read", PROBLEM, NULL, "Version", "One version with its files and manifest") \
X(PUT,   "/v1/models/{author}/{name}/versions/{version}/files/{path...}", files_put, UPLOAD, ACCOUNT, "registry", NULL, TB, "write", PROBLEM, NULL, "File", "Upload one file of a draft") \
X(POST,  "/v1/models/{author}/{name}/versions/{version}/publish", versions_publish, WORKER, ACCOUNT, "registry", NULL, 4 * KB, "write", PROBLEM, NULL, "Version", "Publish: immutable from then on") \
X(GET,   "/v1/versions/{digest}",  versions_by_digest, WORKER, OPTIONAL, NULL, NULL, 0, "read", PROBLEM, NULL, "Version", "A published version by its digest") \
X(GET,   "/{author}/{name}/resolve/{revision}/{path...}", files_get, WORKER, OPTIONAL, NULL, NULL, 0, "read", PROBLEM, NULL, NULL, "Download one file of a published version") \
/* nodes */ \
X(GET,   "/v1/nodes",              nodes_list,     WORKER, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, "NodeList", "Registered nodes") \
X(POST,  "/v1/nodes",              nodes_register, WORKER, PUBLIC,   NULL, NULL, 16 * KB, "auth", PROBLEM, "NodeRegister", "Node", "Register a node: signed by node and operator") \
X(GET,   "/v1/nodes/{address}",    nodes_get,      WORKER, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, "Node", "One node with its offers") \
X(POST,  "/v1/nodes/{address}/heartbeat", nodes_heartbeat, WORKER, NODE, NULL, NULL, 4 * KB, "write", PROBLEM, NULL, "Node", "Still here") \
X(PUT,   "/v1/nodes/{address}/offers", nodes_offers, WORKER, NODE,   NULL, NULL, 256 * KB, "write", PROBLEM, "Offers", "Node", "What the node serves now, at what ask") \
X(POST,  "/v1/nodes/{address}/drain", nodes_drain, WORKER, NODE,     NULL, NULL, 4 * KB, "write", PROBLEM, NULL, "Node", "No new work; running jobs end") \
X(POST,  "/v1/nodes/{address}/receipts", nodes_receipt, WORKER, NODE, NULL, NULL, 16 * KB, "write", PROBLEM, NULL, NULL, "A receipt for an answer that was cut") \
X(GET,   "/v1/nodes/{address}/statements/{digest}", nodes_statement, WORKER, PUBLIC, NULL, NULL, 0, "read", PROBLEM, NULL, NULL, "Our signed word that this key serves this version") \
X(GET,   "/v1/profiles/{hash}",    profiles_get,   WORKER, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, NULL, "An execution profile document") \
/* jobs */ \
X(POST,  "/v1/quotes",             quotes_create,  WORKER, OPTIONAL, NULL, NULL, 16 * KB, "read", PROBLEM, "QuoteCreate", "Quote", "What a job would hold at most") \
X(POST,  "/v1/jobs",               jobs_create,    WORKER, OPTIONAL, "inference", NULL, 16 * MB, "paid", PROBLEM, NULL, "Job", "Run a job; the body is exactly the node's bytes") \
X(GET,   "/v1/jobs",               jobs_list,      WORKER, ACCOUNT,  "read", NULL, 0, "read", PROBLEM, NULL, "JobList", "The caller's jobs") \
X(GET,   "/v1/jobs/{id}",          jobs_get,       WORKER, ACCOUNT,  "read", NULL, 0, "read", PROBLEM, NULL, "Job", "One job; Prefer: wait=N waits for its end") \
X(POST,  "/v1/jobs/{id}/cancel",   jobs_cancel,    WORKER, ACCOUNT,  "inference", NULL, KB, "write", PROBLEM, NULL, "Job", "Cancel a job") \
X(GET,   "/v1/jobs/{id}/output",   jobs_output,    WORKER, ACCOUNT,  "read", NULL, 0, "read", PROBLEM, NULL, NULL, "The node's answer, byte for byte") \
X(GET,   "/v1/jobs/{id}/receipt",  jobs_receipt,   WORKER, ACCOUNT,  "read", NULL, 0, "read", PROBLEM, NULL, NULL, "The receipt, byte for byte") \
X(GET,   "/v1/links/{link}",       links_get,      WORKER, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, "Job", "A job that a wallet paid for; the link is the secret") \
X(GET,   "/v1/links/{link}/output", links_output,  WORKER, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, NULL, "Its output, byte for byte") \
X(GET,   "/v1/links/{link}/receipt", links_receipt, WORKER, PUBLIC,  NULL, NULL, 0, "read", PROBLEM, NULL, NULL, "Its receipt, byte for byte") \
X(POST,  "/v1/chat/completions",   chat_completions, WORKER, OPTIONAL, "inference", NULL, 16 * MB, "paid", OPENAI, NULL, NULL, "OpenAI chat completions, streamed or not") \
X(POST,  "/v1/completions",        completions,    WORKER, OPTIONAL,  "inference", NULL, 16 * MB, "paid", OPENAI, NULL, NULL, "OpenAI completions, streamed or not") \
X(GET,   "/v2/health/live",        oip_live,       INLINE, PUBLIC,   NULL, NULL, 0, "read", OIP, NULL, NULL, "Open Inference Protocol: live") \
X(GET,   "/v2/health/ready",       oip_ready,      WORKER, PUBLIC,   NULL, NULL, 0, "read", OIP, NULL, NULL, "Open Inference Protocol: ready") \
X(GET,   "/v2",                    oip_server,     INLINE, PUBLIC,   NULL, NULL, 0, "read", OIP, NULL, NULL, "Open Inference Protocol: server metadata") \
X(GET,   "/v2/models/{model*}",    oip_model,      WORKER, OPTIONAL, NULL, NULL, 0, "read", OIP, NULL, NULL, "Open Inference Protocol: model metadata") \
X(GET,   "/v2/models/{model*}/ready", oip_model_ready, WORKER, OPTIONAL, NULL, NULL, 0, "read", OIP, NULL, NULL, "Open Inference Protocol: model ready") \
X(POST,  "/v2/models/{model*}/infer", oip_infer,   WORKER, OPTIONAL,  "inference", NULL, 16 * MB, "paid", OIP, NULL, NULL, "Open Inference Protocol: inference") \
X(POST,  "/v2/models/{model*}/versions/{version}/infer", oip_infer_version, WORKER, OPTIONAL, "inference", NULL, 16 * MB, "paid", OIP, NULL, NULL, "Open Inference Protocol: inference by a pinned version") \
/* proof */ \
X(POST,  "/v1/verify",             verify,         WORKER, PUBLIC,   NULL, NULL, 16 * MB, "read", PROBLEM, "Verify", "Verdict", "Check a receipt; needs no sign-in") \
X(GET,   "/v1/gateway",            gateway_info,   INLINE, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, NULL, "This gateway's key, chain, token and treasury") \
X(GET,   "/v1/settlements/{id}",   records_get,    WORKER, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, "Settlement", "What of a call went on chain, by its job or X-Settlement-Job-ID") \
X(GET,   "/v1/blobs/{blob}",       blobs_get,      WORKER, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, NULL, "A document that an event on chain names") \
/* money */ \
X(GET,   "/v1/balance",            balance_get,    WORKER, ACCOUNT,  "read", NULL, 0, "read", PROBLEM, NULL, "Balance", "Available, held and earned") \
X(GET,   "/v1/rates",              rates_get,      WORKER, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, "Rate", "What one OPG is worth, for prices in USD") \
X(GET,   "/v1/transfers",          transfers_list, WORKER, ACCOUNT,  "read", NULL, 0, "read", PROBLEM, NULL, "TransferList", "Ledger movements of the caller") \
X(GET,   "/v1/payments/{id}",      payments_get,   WORKER, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, "Payment", "What became of an x402 payment; the id is the secret") \
X(GET,   "/v1/deposits",           deposits_list,  WORKER, ACCOUNT,  "read", NULL, 0, "read", PROBLEM, NULL, "DepositList", "Deposits of the caller") \
X(GET,   "/v1/reconciliation",     reconciliation, WORKER, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, "Reconciliation", "Ledger sum, balances, holds and custody against the chain") \
X(POST,  "/v1/reconciliation/mismatches/{id}/resolve", mismatches_resolve, WORKER, ACCOUNT, "registry", "admin", 4 * KB, "write", PROBLEM, "Resolve", "Resolved", "Take responsibility for a mismatch that stays, so that settlements go on") \
X(POST,  "/v1/deposits",           deposits_create, WORKER, ACCOUNT, "inference", NULL, 8 * KB, "write", PROBLEM, "DepositCreate", "SponsoredDeposit", "Deposit by signature: we pay the gas") \
X(GET,   "/v1/deposits/sponsored/{id}", deposits_sponsored, WORKER, ACCOUNT, "read", NULL, 0, "read", PROBLEM, NULL, "SponsoredDeposit", "What became of a deposit by signature") \
X(GET,   "/v1/deposits/held",      deposits_held,  WORKER, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, "DepositList", "Deposits whose sender is a contract nobody signed in for") \
X(POST,  "/v1/deposits/{id}/claim", deposits_claim, WORKER, PUBLIC,  NULL, NULL, 8 * KB, "auth", PROBLEM, "DepositClaim", "DepositClaimed", "Credit a held deposit to the account its sender names by signature") \
/* discovery */ \
X(GET,   "/discovery/resources",   discovery,      WORKER, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, "DiscoveryResources", "What a wallet can buy here now: served models with their x402 terms (bazaar)") \
X(GET,   "/facilitator/discovery/resources", facilitator_discovery, WORKER, PUBLIC, NULL, NULL, 0, "read", PROBLEM, NULL, "DiscoveryResources", "The same, where the clients of a facilitator look for it") \
/* payouts */ \
X(GET,   "/v1/earnings",           earnings_get,   WORKER, ACCOUNT,  "read", NULL, 0, "read", PROBLEM, NULL, "Earnings", "As author and as operator: earned, in flight, paid, available") \
X(GET,   "/v1/statements",         statements_get, WORKER, ACCOUNT,  "read", NULL, 0, "read", PROBLEM, NULL, "Statement", "A line for each earning, from its job to the transaction that paid it") \
X(GET,   "/v1/payouts/settings",   payouts_settings_get, WORKER, ACCOUNT, "read", NULL, 0, "read", PROBLEM, NULL, "PayoutSettings", "Where and when the caller is paid") \
X(PUT,   "/v1/payouts/settings",   payouts_settings_put, WORKER, ACCOUNT, "payouts", NULL, 16 * KB, "write", PROBLEM, "PayoutSettingsPut", "PayoutSettings", "Change it; a new address is signed for, and waits") \
X(DELETE,"/v1/payouts/addresses/{address}", payouts_address_cancel, WORKER, ACCOUNT, "payouts", NULL, 0, "write", PROBLEM, NULL, NULL, "Take an address off the list, at once") \
X(GET,   "/v1/models/{author}/{name}/authors", authors_get, WORKER, ACCOUNT, "registry", NULL, 0, "read", PROBLEM, NULL, "Authors", "Whose the royalty of a model is; for its owner") \
X(PUT,   "/v1/models/{author}/{name}/authors", authors_put, WORKER, ACCOUNT, "payouts", NULL, 4 * KB, "write", PROBLEM, "AuthorsPut", "Authors", "Share it with co-authors, from the next job on") \
X(POST,  "/v1/withdrawals",        withdrawals_create, WORKER, ACCOUNT, "payouts", NULL, 4 * KB, "write", PROBLEM, "WithdrawalCreate", "Withdrawal", "Pay out earnings or balance") \
X(GET,   "/v1/withdrawals",        withdrawals_list, WORKER, ACCOUNT, "read", NULL, 0, "read", PROBLEM, NULL, "WithdrawalList", "Payouts of the caller, scheduled ones too") \
X(GET,   "/v1/withdrawals/{id}",   withdrawals_get, WORKER, ACCOUNT, "read", NULL, 0, "read", PROBLEM, NULL, "Withdrawal", "One of them") \
/* x402 facilitator */ \
X(GET,   "/facilitator/supported", facilitator_supported, INLINE, PUBLIC, NULL, NULL, 0, "read", OIP, NULL, "FacilitatorSupported", "x402 schemes and networks we settle, and our signers") \
X(POST,  "/facilitator/verify",    facilitator_verify, WORKER, PUBLIC, NULL, NULL, 64 * KB, "paid", OIP, "FacilitatorRequest", "FacilitatorVerified", "Would this payment be settled?") \
X(POST,  "/facilitator/settle",    facilitator_settle, WORKER, OPTIONAL, "registry", NULL, 64 * KB, "paid", OIP, "FacilitatorRequest", "FacilitatorSettled", "Settle a payment to a registered payee") \
X(GET,   "/facilitator/settle/{job}", facilitator_settle_get, WORKER, PUBLIC, NULL, NULL, 0, "read", OIP, NULL, "SettlementJob", "What became of a settlement") \
X(POST,  "/facilitator/settle_data", facilitator_settle_data, WORKER, PUBLIC, NULL, NULL, 64 * KB, "write", OIP, NULL, "DataSettled", "Take a signed statement of inference to be put on chain") \
X(GET,   "/v1/payees",             payees_list,    WORKER, ACCOUNT,  "read", NULL, 0, "read", PROBLEM, NULL, "PayeeList", "Addresses the facilitator settles to for the caller") \
X(POST,  "/v1/payees",             payees_create,  WORKER, ACCOUNT,  "registry", NULL, 8 * KB, "write", PROBLEM, "PayeeCreate", "Payee", "Register a payee") \
X(DELETE,"/v1/payees/{address}",   payees_delete,  WORKER, ACCOUNT,  "registry", NULL, 0, "write", PROBLEM, NULL, NULL, "Settle to it no longer") \
/* pages */ \
X(GET,   "/",                      page_index,     INLINE, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, NULL, "The marketplace") \
X(GET,   "/operator",              page_operator,  INLINE, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, NULL, "The operator's page: reconciliation, what is on its way, what needs attention") \
X(GET,   "/assets/{file}",         page_asset,     INLINE, PUBLIC,   NULL, NULL, 0, "read", PROBLEM, NULL, NULL, "Files of the pages")

#define X(method, pattern, fn, ...) enum err handle_##fn(struct request *req);
ROUTES(X)
#undef X

extern const struct route ROUTE_TABLE[];
extern const size_t ROUTE_TABLE_COUNT;

#endif
