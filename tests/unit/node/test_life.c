/* The whole agent as a process of its own: registers, downloads, spawns, offers, serves, restarts, drains. This program is
 * also the agent (`--agent FILE`) and its backend (`--backend DIR PORT`). */
#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "node/node.h"
#include "tests/unit/node/fixture.h"

#define PATH "/v2/models/alice/adder/infer"

static char self[4096], dir[] = "/tmp/opgate-node-XXXXXX";
static struct fake_gateway gateway;
static struct agent known; /* only its address: tickets are for it */
static uint16_t port;
static pid_t agent;

/* ---- the backend: answers the bytes of its verified file, until its standard input ends ---- */

static void backend_answer(int fd, const char *file)
{
	char *request = http_read_request(fd);
	bool ready = request && strstr(request, "GET /v2/health/ready ");
	_cleanup_free_ char *body = ready ? xstrdup("{}") : xasprintf("{\"file\":\"%s\",\"pid\":%d}", file, (int)getpid());
	_cleanup_free_ char *answer = xasprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
	fake_send(fd, answer);
	free(request);
	close(fd);
}

static int backend_main(const char *folder, const char *port_text)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoull(port_text, NULL, 10)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	_cleanup_free_ char *path = xasprintf("%s/deep/adder.bin", folder);
	char text[128] = "";
	int file = open(path, O_RDONLY), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	ssize_t n = file < 0 ? -1 : read(file, text, sizeof(text) - 1);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (n < 0 || bind(fd, (struct sockaddr *)&in, sizeof(in)) != 0 || listen(fd, 16) != 0)
		return 1;
	close(file);
	struct pollfd p[2] = { { .fd = 0, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
	while (poll(p, 2, -1) > 0 && !p[0].revents) {
		int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		if (c >= 0)
			backend_answer(c, text);
	}
	close(fd);
	return 0;
}

/* ---- the agent ---- */

static void file_write(const char *name, const char *text)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void port_take(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	port = ntohs(in.sin_port);
	close(fd);
}

/* With an empty environment: settings come from the file alone. */
static pid_t spawn_agent(const char *extra)
{
	char *environment[] = { NULL };
	_cleanup_free_ char *config = xasprintf("%s/node.conf", dir);
	char *argv[] = { self, "--agent", config, (char *)(uintptr_t)extra, NULL };
	pid_t pid;
	assert_int_equal(posix_spawn(&pid, self, NULL, NULL, argv, environment), 0);
	return pid;
}

static void agent_start(void)
{
	port_take();
	_cleanup_free_ char *config = xasprintf(
		"gateway_url = http://127.0.0.1:%u/\ngateway_address = %s\nchain_id = %d\nnode_key_file = %s/node.key\n"
		"operator_key_file = %s/operator.key\nlisten_port = %u\ndata_dir = %s/data\nask_input = 7\npoll_ms = 50\nlog_level = error\n"
		"tensor_backend_command = %s --backend {dir} {port}\ncapacity = 3\ntensor_backend_profile = {\"engine\":\"test\",\"precision\":\"fp32\"}\n",
		http_port(gateway.http), address_format(&gateway.address).s, CHAIN, dir, dir, port, dir, self);
	file_write("node.conf", config);
	agent = spawn_agent(NULL);
}

static int agent_end(int sig)
{
	int status = 0;
	kill(agent, sig);
	assert_int_equal(waitpid(agent, &status, 0), agent);
	agent = 0;
	return status;
}

static int setup(void **state)
{
	struct secret_key operator_;
	(void)state;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0 || !mkdtemp(dir))
		return -1;
	_cleanup_free_ char *node = xasprintf("%s/node.key", dir), *owner = xasprintf("%s/operator.key", dir);
	assert_int_equal(secret_key_new(&known.key), ERR_OK);
	assert_int_equal(secret_key_new(&operator_), ERR_OK);
	assert_int_equal(secret_key_write_file(node, &known.key), ERR_OK);
	assert_int_equal(secret_key_write_file(owner, &operator_), ERR_OK);
	secret_key_address(&known.key, &known.address);
	return 0;
}

static int test_start(void **state)
{
	(void)state;
	fake_gateway_start(&gateway, "tensor");
	return 0;
}

static int test_end(void **state)
{
	(void)state;
	if (agent)
		agent_end(SIGKILL);
	fake_gateway_stop(&gateway);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	_cleanup_free_ char *command = xasprintf("rm -rf '%s'", dir);
	return system(command);
}

static char *infer(void)
{
	struct order o = { .path = PATH, .type = "application/json", .body = "{}" };
	_cleanup_free_ char *ticket = ticket_for(&gateway, &known, &o);
	_cleanup_free_ char *text = order_text(&o, ticket);
	return ask(port, text);
}

static pid_t backend_pid(void)
{
	_cleanup_free_ char *answer = infer();
	assert_status(answer, 200);
	assert_contains(answer, "\"file\":\"" FILE_TEXT "\"");
	assert_contains(answer, "Opgate-Receipt: ");
	return (pid_t)strtoll(strstr(answer, "\"pid\":") + 6, NULL, 10);
}

/* Ended, even if nobody has reaped it: an orphan's new parent is not ours to rely on. */
static bool gone(pid_t pid)
{
	char text[512] = "";
	_cleanup_free_ char *path = xasprintf("/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return true;
	bool over = read(fd, text, sizeof(text) - 1) <= 0 || strstr(text, ") Z ");
	close(fd);
	return over;
}

static void test_whole(void **state)
{
	(void)state;
	agent_start();
	wait_until(fake_offers_are(&gateway, 1));
	assert_int_equal(atomic_load(&gateway.registered), 1);
	assert_contains(gateway.offers, "\"ask\":{\"currency\":\"OPG\",\"input\":\"7\",\"output\":\"0\"}");
	assert_contains(gateway.offers, "\"capacity\":3");
	assert_contains(gateway.offers, "\"precision\":\"fp32\"");
	wait_until(atomic_load(&gateway.heartbeats) >= 2);
	pid_t first = backend_pid();
	assert_true(first > 0);

	kill(first, SIGKILL); /* its offer goes, and comes again with another process */
	wait_until(fake_offers_are(&gateway, 0));
	wait_until(fake_offers_are(&gateway, 1));
	pid_t second = backend_pid();
	assert_int_not_equal(first, second);

	atomic_store(&gateway.forgetful, true); /* the gateway lost us: we register again and offer again */
	wait_until(atomic_load(&gateway.registered) == 2);
	wait_until(fake_offers_are(&gateway, 1));

	int status = agent_end(SIGTERM);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(atomic_load(&gateway.drained), 1);
	assert_true(gone(second));
	assert_int_equal(atomic_load(&gateway.downloads), 1);
}

/* What is on disk is checked again at the start: whole files are kept, changed ones fetched anew, strangers removed. */
static void test_restart(void **state)
{
	char hex[65];
	(void)state;
	hex_encode(gateway.digest.b, 32, hex);
	_cleanup_free_ char *stranger = xasprintf("data/%s/stranger.onnx", hex), *file = xasprintf("data/%s/deep/adder.bin", hex);
	_cleanup_free_ char *file_path = xasprintf("%s/%s", dir, file), *stranger_path = xasprintf("%s/%s", dir, stranger);
	file_write(stranger, "x");
	assert_int_equal(chmod(file_path, 0644), 0);
	file_write(file, "the model's bytez");
	agent_start();
	wait_until(fake_offers_are(&gateway, 1));
	assert_int_equal(atomic_load(&gateway.downloads), 1);
	assert_int_not_equal(access(stranger_path, F_OK), 0);
	pid_t backend = backend_pid();
	agent_end(SIGKILL); /* nobody is left to stop it: its standard input ends */
	wait_until(gone(backend));
	agent_start();
	wait_until(fake_offers_are(&gateway, 1));
	assert_int_equal(atomic_load(&gateway.downloads), 1);
}

/* Bytes other than the manifest's never run, and nothing is offered. */
static void test_corrupt(void **state)
{
	(void)state;
	_cleanup_free_ char *command = xasprintf("rm -rf '%s/data'", dir);
	assert_int_equal(system(command), 0);
	atomic_store(&gateway.corrupt, true);
	agent_start();
	wait_until(atomic_load(&gateway.downloads) == 1);
	int listed = atomic_load(&gateway.listed);
	wait_until(atomic_load(&gateway.listed) >= listed + 4); /* it looks again, and does not take it */
	assert_int_equal(atomic_load(&gateway.downloads), 1);
	assert_true(fake_offers_are(&gateway, 0));
	char hex[65];
	hex_encode(gateway.digest.b, 32, hex);
	_cleanup_free_ char *path = xasprintf("%s/data/%s/deep/adder.bin", dir, hex), *part = xasprintf("%s/data/%s.part", dir, hex);
	assert_int_not_equal(access(path, F_OK), 0);
	assert_int_not_equal(access(part, F_OK), 0);
	_cleanup_free_ char *answer = infer();
	assert_status(answer, 404);
}

static void test_check(void **state)
{
	(void)state;
	agent_start();
	agent_end(SIGKILL);
	int status = 0;
	pid_t pid = spawn_agent("--check");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	file_write("node.conf", "gateway_url = ftp://x\n");
	pid = spawn_agent("--check");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_whole, test_start, test_end),
		cmocka_unit_test_setup_teardown(test_restart, test_start, test_end),
		cmocka_unit_test_setup_teardown(test_corrupt, test_start, test_end),
		cmocka_unit_test_setup_teardown(test_check, test_start, test_end),
	};
	if (argc == 4 && strcmp(argv[1], "--backend") == 0)
		return backend_main(argv[2], argv[3]);
	if (argc >= 3 && strcmp(argv[1], "--agent") == 0) {
		char *args[] = { "node", "--config", argv[2], "--check", NULL };
		return node_main(argc > 3 ? 4 : 3, args);
	}
	crypto_init();
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, setup, teardown);
}
