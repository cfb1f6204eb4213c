/* The gateway's settings; the table with types, defaults and docs is settings.c. */
#ifndef OPGATE_HANDLERS_SETTINGS_H
#define OPGATE_HANDLERS_SETTINGS_H

#include <stdio.h>

#include "base/config.h"

struct settings {
	char *listen_host, *base_url, *database_url, *rpc_url, *gateway_key_file, *jwt_secret_file, *blob_dir, *public_dir, *admin_addresses,
		*settler_key_file, *facilitator_url, *cors_origin, *log_level, *payout_key_file, *usd_sources, *rpc_url_2, *model_aliases;
	int64_t listen_port, chain_id, deposit_confirmations, platform_fee_bps, http_daemons, workers, reactors, queue_max, connections_max,
		upload_max_bytes, node_timeout_ms, job_timeout_ms, stall_timeout_ms, instance_timeout_ms, drain_timeout_ms, poll_ms, attempts_max, payment_wait_ms,
		gas_fee_max, gas_priority_max, rate_read, rate_write, rate_paid, rate_auth, usd_poll_ms, usd_max_age_ms, usd_deviation_bps, usd_jump_bps,
		settlement_confirmations, settlement_patience_ms, payout_address_delay_ms, payout_sign_in_ms, deposit_from_block, record_batch_max,
		record_batch_wait_ms, record_individual_hour;
	struct address opg_token, treasury, settler_contract, pay_to, payouts_contract, depositor_contract, record_contract;
	struct amount x402_exposure_payer, x402_exposure_all, facilitator_gas_payee, facilitator_gas_all, gas_balance_min, gas_sponsor_per_payer_day,
		gas_sponsor_per_day, payout_minimum, sponsor_deposit_min, sponsor_gas_account, sponsor_gas_all;
	struct hash genesis_hash;
	bool allow_private_nodes, x402_identifier_required;
};

extern const struct setting SETTINGS[];
extern const size_t SETTINGS_COUNT;

#endif
