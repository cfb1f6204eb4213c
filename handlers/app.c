/* What follows from the settings and is asked for in more than one place; see app.h. */
#include "handlers/app.h"

void app_own_addresses(struct app *app)
{
	const struct settings *s = app->settings;
	const struct address *const all[APP_OWN_MAX] = { &s->treasury, &s->pay_to, &s->settler_contract, &s->payouts_contract };

	app->own_count = 0;
	for (size_t i = 0; i < APP_OWN_MAX; i++)
		if (!address_is_zero(all[i]))
			app->own[app->own_count++] = *all[i];
}

struct reconcile_with app_reconcile_with(const struct app *app)
{
	const struct settings *s = app->settings;

	return (struct reconcile_with){ .chain = app->chain, .token = s->opg_token, .treasury = s->treasury, .pay_to = s->pay_to, .payouts = s->payouts_contract };
}
