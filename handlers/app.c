/* What follows from the settings and is asked for in more than one place; see app.h. */
#include "chain/calls.h"
#include "handlers/app.h"

void app_own_addresses(struct app *app)
{
	const struct settings *s = app->settings;
	const struct address *const all[APP_OWN_MAX] = { &s->treasury, &s->pay_to, &s->settler_contract, &s->depositor_contract, &s->payouts_contract, &app->payout_sender,
							   &CALLS_X402_EXACT_PROXY, &CALLS_X402_UPTO_PROXY, &CALLS_PERMIT2 };

	app->own_count = 0;
	for (size_t i = 0; i < APP_OWN_MAX; i++)
		if (!address_is_zero(all[i]))
			app->own[app->own_count++] = *all[i];
}
