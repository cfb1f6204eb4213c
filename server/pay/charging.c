/* See charging.h. */
#include "pay/charging.h"

static const struct outcome_row ROWS[] = {
#define X(sym, name_, state_, charge_, err_, when_) \
	[OUTCOME_##sym] = { .name = name_, .state = state_, .charge = CHARGE_##charge_, .err = ERR_##err_, .when = when_ },
	OUTCOME_TABLE(X)
#undef X
};

const struct outcome_row *outcome_row(enum outcome o)
{
	return &ROWS[o];
}

void charging_print_markdown(FILE *out)
{
	static const char *const pays[] = { [CHARGE_NOTHING] = "nothing", [CHARGE_UNITS] = "units of the receipt, cut to the plausible",
					    [CHARGE_COUNTED] = "units, output cut to what the gateway counted" };
	static const char *const gets[] = { [CHARGE_NOTHING] = "nothing", [CHARGE_UNITS] = "ask / royalty / fee", [CHARGE_COUNTED] = "ask / royalty / fee" };

	fprintf(out, "| end | state | when | caller pays | node / author / platform get | stays held | caller is told |\n|---|---|---|---|---|---|---|\n");
	for (size_t i = 0; i < OUTCOME_COUNT; i++)
		fprintf(out, "| `%s` | %s | %s | %s | %s | nothing | %s |\n", ROWS[i].name, ROWS[i].state, ROWS[i].when, pays[ROWS[i].charge],
			gets[ROWS[i].charge], ROWS[i].err == ERR_OK ? "the answer" : err_info(ROWS[i].err)->code);
}
