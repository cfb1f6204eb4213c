/* opgate: one program, a command for each thing it does. `serve` is gateway.c, `node` is node/; what needs no more than a function is here. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "crypto/crypto.h"
#include "db/migrate.h"
#include "handlers/reconcile_command.h"
#include "handlers/settings.h"
#include "node/node.h"
#include "pay/charging.h"
#include "proof/verify_main.h"
#include "server/gateway.h"

static int migrate(const char *config_path)
{
	struct settings settings = { 0 };
	struct config_why config_why;
	struct migrate_why why = { "" };
	size_t applied = 0;
	struct db *db;
	enum err e;

	if (config_load(SETTINGS, SETTINGS_COUNT, config_path, &settings, &config_why)) {
		fprintf(stderr, "opgate: %s\n", config_why.text);
		return 2;
	}
	crypto_init();
	db = db_new(settings.database_url, 60000);
	e = db_migrate(db, &applied, &why);
	if (e)
		fprintf(stderr, "opgate: %s\n", why.text);
	else
		printf("%zu migrations applied, %zu in all\n", applied, MIGRATIONS_COUNT);
	db_free(db);
	config_free(SETTINGS, SETTINGS_COUNT, &settings);
	return e ? 1 : 0;
}

static int print_config(const char *config_path, bool markdown)
{
	struct settings settings = { 0 };
	struct config_why why;

	if (markdown) {
		config_print_markdown(SETTINGS, SETTINGS_COUNT, stdout);
		return 0;
	}
	if (config_load(SETTINGS, SETTINGS_COUNT, config_path, &settings, &why)) {
		fprintf(stderr, "opgate: %s\n", why.text);
		return 2;
	}
	config_print(SETTINGS, SETTINGS_COUNT, &settings, stdout);
	config_free(SETTINGS, SETTINGS_COUNT, &settings);
	return 0;
}

static int keygen(const char *path)
{
	struct secret_key key;
	struct address address;
	enum err e;

	crypto_init();
	e = secret_key_new(&key);
	if (!e)
		e = secret_key_write_file(path, &key);
	if (e) {
		fprintf(stderr, "opgate: cannot write %s: %s\n", path, e == ERR_CONFLICT ? "it exists already" : strerror(errno));
		return 1;
	}
	secret_key_address(&key, &address);
	secret_key_wipe(&key);
	printf("%s\n", address_format(&address).s);
	return 0;
}

static int usage(bool asked)
{
	fprintf(asked ? stdout : stderr, "usage: opgate serve    --config FILE      run the gateway\n"
			"       opgate migrate  --config FILE      bring the database up to date\n"
			"       opgate node     --config FILE      run a node agent (--help: its settings)\n"
			"       opgate verify   RECEIPT [options]  check a receipt offline (--help: its options)\n"
			"       opgate keygen   --out FILE         make a signing key\n"
			"       opgate config   --config FILE      print the settings (--markdown: describe them)\n"
			"       opgate reconcile --from-chain --config FILE [--from BLOCK]  compare the books with the chain's logs\n"
			"       opgate charging                    print the charging table\n");
	return asked ? 0 : 64;
}

/* The value after --name, or NULL. */
static const char *option(int argc, char **argv, const char *name)
{
	for (int i = 2; i + 1 < argc; i++)
		if (!strcmp(argv[i], name))
			return argv[i + 1];
	return NULL;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	const char *config_path = option(argc, argv, "--config");

	json_object_seed(0); /* before threads */
	if (!strcmp(command, "serve"))
		return gateway_serve(config_path);
	if (!strcmp(command, "migrate"))
		return migrate(config_path);
	if (!strcmp(command, "node"))
		return node_main(argc - 1, argv + 1);
	if (!strcmp(command, "verify"))
		return verify_main(argc - 1, argv + 1);
	if (!strcmp(command, "reconcile") && argc > 2 && !strcmp(argv[2], "--from-chain"))
		return reconcile_command(config_path, option(argc, argv, "--from"));
	if (!strcmp(command, "config"))
		return print_config(config_path, argc > 2 && !strcmp(argv[2], "--markdown"));
	if (!strcmp(command, "charging"))
		return charging_print_markdown(stdout), 0;
	if (!strcmp(command, "keygen") && option(argc, argv, "--out"))
		return keygen(option(argc, argv, "--out"));
	return usage(!strcmp(command, "--help") || !strcmp(command, "-h") || !strcmp(command, "help"));
}
