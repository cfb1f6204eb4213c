/* The inference backend of one version: started on the verified files, watched, started again when it dies, ended with us.
 * The keeper thread's own (argv_make and profile_make are anyone's). A spawned backend reads its standard input and
 * ends at its end: should the agent be killed, the pipe closes and nothing is left behind. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "node/agent.h"

#define BACKOFF_FIRST_MS 500
#define BACKOFF_MAX_MS 30000
#define STOP_WAIT_MS 3000
#define PROBE_DEADLINE_MS 2000
#define TICK_MS 50

extern char **environ;

char **argv_make(const char *command, const char *dir, uint16_t port)
{
	char **argv = NULL;
	size_t count = 0;
	char number[8];
	snprintf(number, sizeof(number), "%u", (unsigned)port);
	_cleanup_free_ char *words = xstrdup(command);
	for (char *rest = words, *word; (word = strsep(&rest, " \t\r\n"));) {
		if (!*word)
			continue;
		struct buf b = BUF_INIT((size_t)1 << 20);
		enum err e = ERR_OK;
		while (!e && *word) {
			bool is_dir = strncmp(word, "{dir}", 5) == 0, is_port = strncmp(word, "{port}", 6) == 0;
			e = is_dir ? buf_puts(&b, dir) : is_port ? buf_puts(&b, number) : buf_append(&b, word, 1);
			word += is_dir ? 5 : is_port ? 6 : 1;
		}
		if (e)
			panic("node: a backend command is too long");
		argv = xrealloc(argv, (count + 2) * sizeof(*argv));
		argv[count++] = buf_steal(&b);
		argv[count] = NULL;
	}
	return argv;
}

void argv_free(char **argv)
{
	for (char **p = argv; p && *p; p++)
		free(*p);
	free(argv);
}

/* First "model name" line of the processor's description. */
static void cpu_name(char *ret, size_t size)
{
	snprintf(ret, size, "unknown");
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];
	while (f && fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');
		if (strncmp(line, "model name", 10) != 0 || !colon)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(ret, size, "%.*s", (int)(size - 1), colon + 2);
		break;
	}
	if (f)
		fclose(f);
	for (char *p = ret; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
}

/* The command without the folders of this machine, which are nobody's business; the caller frees. */
static char *command_public(const char *command)
{
	struct buf b = BUF_INIT((size_t)1 << 20);
	enum err e = ERR_OK;
	for (const char *word = command + strspn(command, " \t\r\n"); !e && *word; word += strspn(word, " \t\r\n")) {
		size_t len = strcspn(word, " \t\r\n");
		const char *slash = memrchr(word, '/', len), *from = slash ? slash + 1 : word;
		e = buf_printf(&b, "%s%.*s", b.len ? " " : "", (int)(word + len - from), from);
		word += len;
	}
	if (e)
		panic("node: a backend command is too long");
	return buf_steal(&b);
}

char *profile_make(const struct node_settings *s, enum node_surface surface)
{
	const char *given = surface == NODE_CHAT ? s->chat_backend_profile : s->tensor_backend_profile;
	if (*given)
		return xstrdup(given);
	const char *command = surface == NODE_CHAT ? s->chat_backend_command : s->tensor_backend_command;
	_cleanup_free_ char *shown = command_public(command);
	char cpu[128];
	cpu_name(cpu, sizeof(cpu));
	_cleanup_json_ json_t *j = json_must(json_pack("{s:s, s:s, s:s, s:s}", "surface", node_surface_name(surface), "engine",
		*shown ? shown : "external", "precision", "", "hardware", cpu));
	return json_text(j);
}

/* ---- starting ---- */

/* A port nobody listens on now; should somebody take it first, the backend fails and is started again on another. */
static enum err port_free(uint16_t *ret)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return ERR_IO;
	bool ok = bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0 && getsockname(fd, (struct sockaddr *)&in, &len) == 0;
	close(fd);
	if (!ok)
		return ERR_IO;
	*ret = ntohs(in.sin_port);
	return ERR_OK;
}

/* Own process group, no signal blocked or ignored, nothing of ours open but the pipe and the log. */
static int spawn_in_group(char **argv, int in, int log, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	sigdelset(&all, SIGKILL);
	sigdelset(&all, SIGSTOP);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	int rc = posix_spawn_file_actions_adddup2(&actions, in, 0);
	rc = rc ? rc : posix_spawn_file_actions_adddup2(&actions, log, 1);
	rc = rc ? rc : posix_spawn_file_actions_adddup2(&actions, log, 2);
	rc = rc ? rc : posix_spawn_file_actions_addclosefrom_np(&actions, 3);
	rc = rc ? rc : posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	rc = rc ? rc : posix_spawnattr_setpgroup(&attr, 0);
	rc = rc ? rc : posix_spawnattr_setsigmask(&attr, &none);
	rc = rc ? rc : posix_spawnattr_setsigdefault(&attr, &all);
	rc = rc ? rc : posix_spawnp(ret, argv[0], &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return rc;
}

static enum err backend_spawn(struct agent *a, struct served *s)
{
	const char *command = s->surface == NODE_CHAT ? a->settings.chat_backend_command : a->settings.tensor_backend_command;
	int in[2];
	if (port_free(&s->port) || pipe2(in, O_CLOEXEC) != 0)
		return ERR_IO;
	_cleanup_free_ char *log_path = xasprintf("%s.log", s->dir);
	int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	char **argv = argv_make(command, s->dir, s->port);
	pid_t pid = 0;
	int rc = log < 0 || !argv ? EINVAL : spawn_in_group(argv, in[0], log, &pid);
	if (rc)
		LOG_EVENT(LOG_ERROR, "backend.spawn_failed", L_STR("model", s->model), L_STR("detail", strerror(rc)));
	argv_free(argv);
	if (log >= 0)
		close(log);
	close(in[0]);
	if (rc) {
		close(in[1]);
		return ERR_IO;
	}
	s->pid = pid;
	s->stdin_fd = in[1];
	return ERR_OK;
}

static void backend_later(struct agent *a, struct served *s)
{
	int64_t wait = BACKOFF_FIRST_MS;
	for (int i = 0; i < s->failures && wait < BACKOFF_MAX_MS; i++)
		wait *= 2;
	s->failures++;
	s->start_at = deadline_in(wait < BACKOFF_MAX_MS ? wait : BACKOFF_MAX_MS);
	served_set_state(a, s, SERVED_WAITING);
}

static void backend_start(struct agent *a, struct served *s)
{
	const char *url = s->surface == NODE_CHAT ? a->settings.chat_backend_url : a->settings.tensor_backend_url;
	if (!*url && backend_spawn(a, s)) {
		backend_later(a, s);
		return;
	}
	pthread_mutex_lock(&a->lock);
	if (*url)
		snprintf(s->base_url, sizeof(s->base_url), "%s", url);
	else
		snprintf(s->base_url, sizeof(s->base_url), "http://127.0.0.1:%u", (unsigned)s->port);
	pthread_mutex_unlock(&a->lock);
	s->ready_by = deadline_in(a->settings.backend_start_timeout_ms);
	served_set_state(a, s, SERVED_STARTING);
	if (*url) /* nothing was started: whether it runs is not known yet */
		LOG_EVENT(LOG_INFO, "backend.awaited", L_STR("model", s->model), L_STR("url", s->base_url));
	else
		LOG_EVENT(LOG_INFO, "backend.started", L_STR("model", s->model), L_STR("url", s->base_url), L_INT("pid", s->pid));
}

/* ---- ending ---- */

static void stdin_close(struct served *s)
{
	if (s->stdin_fd >= 0)
		close(s->stdin_fd);
	s->stdin_fd = -1;
}

/* Has the process ended? Reaps it, and what is left of its group goes too. */
static bool backend_reap(struct served *s, int flags, enum log_level level)
{
	int status = 0;
	pid_t got;
	do
		got = waitpid(s->pid, &status, flags);
	while (got < 0 && errno == EINTR);
	if (got == 0)
		return false;
	kill(-s->pid, SIGKILL);
	s->pid = 0;
	stdin_close(s);
	LOG_EVENT(level, "backend.ended", L_STR("model", s->model), L_INT("status", WIFEXITED(status) ? WEXITSTATUS(status) : -1),
		  L_INT("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0));
	return true;
}

static void backend_kill(struct served *s)
{
	if (s->pid <= 0)
		return;
	kill(-s->pid, SIGKILL);
	backend_reap(s, 0, LOG_WARN);
}

void backend_stop_all(struct agent *a)
{
	for (struct served *s = a->served; s; s = s->next) {
		served_set_state(a, s, SERVED_WAITING);
		stdin_close(s);
		if (s->pid > 0)
			kill(-s->pid, SIGTERM);
	}
	deadline_ms until = deadline_in(STOP_WAIT_MS);
	for (struct served *s = a->served; s; s = s->next) {
		while (s->pid > 0 && !backend_reap(s, WNOHANG, LOG_INFO) && !deadline_passed(until))
			nanosleep(&(struct timespec){ .tv_nsec = 10 * 1000000L }, NULL);
		backend_kill(s);
	}
}

/* ---- watching ---- */

static int backend_get(struct agent *a, const struct served *s, const char *path, struct api_answer *ret)
{
	_cleanup_free_ char *url = xasprintf("%s%s", s->base_url, path);
	const struct net_request r = { .method = "GET", .url = url, .deadline_ms = PROBE_DEADLINE_MS, .connect_timeout_ms = 1000,
				       .response_max = (size_t)1 << 20 };
	return fetch_run(a->backend, &r, NULL, &a->stopping, ret) ? 0 : ret->status;
}

/* What the backend calls its model: the setting, the first of its list, or the model's own name. */
static void backend_name(struct agent *a, struct served *s)
{
	const char *own = strchr(s->model, '/') ? strchr(s->model, '/') + 1 : s->model;
	const char *set = s->surface == NODE_CHAT ? a->settings.chat_backend_model : a->settings.tensor_backend_model;
	struct api_answer answer = { .status = 0 };
	_cleanup_json_ json_t *j = NULL;
	const char *listed = NULL;
	if (!*set && s->surface == NODE_CHAT && backend_get(a, s, "/v1/models", &answer) == 200 &&
	    json_parse(answer.body, answer.len, &j, NULL) == ERR_OK)
		listed = json_string_value(json_object_get(json_array_get(json_object_get(j, "data"), 0), "id"));
	pthread_mutex_lock(&a->lock);
	snprintf(s->backend_model, sizeof(s->backend_model), "%s", *set ? set : listed && *listed ? listed : own);
	pthread_mutex_unlock(&a->lock);
	api_answer_done(&answer);
}

static bool backend_ready(struct agent *a, struct served *s)
{
	struct api_answer answer;
	int status = backend_get(a, s, "/v2/health/ready", &answer);
	api_answer_done(&answer);
	if (status == 404 && s->pid == 0) { /* an engine that speaks OpenAI only */
		status = backend_get(a, s, "/v1/models", &answer);
		api_answer_done(&answer);
	}
	return status == 200;
}

static void backend_probe(struct agent *a, struct served *s)
{
	if (backend_ready(a, s)) {
		backend_name(a, s);
		s->failures = 0;
		served_set_state(a, s, SERVED_READY);
		LOG_EVENT(LOG_INFO, "backend.ready", L_STR("model", s->model), L_STR("surface", node_surface_name(s->surface)));
	} else if (deadline_passed(s->ready_by)) {
		LOG_EVENT(LOG_ERROR, "backend.not_ready", L_STR("model", s->model), L_STR("url", s->base_url));
		backend_kill(s);
		backend_later(a, s);
	}
}

void backend_tick(struct agent *a, struct served *s)
{
	if (s->pid > 0 && backend_reap(s, WNOHANG, LOG_WARN)) {
		backend_later(a, s);
		return;
	}
	if (s->state == SERVED_WAITING && deadline_passed(s->start_at))
		backend_start(a, s);
	if (s->state == SERVED_STARTING) {
		backend_probe(a, s);
	} else if (s->state == SERVED_READY && s->pid == 0 && deadline_passed(s->ready_by)) {
		/* Nobody tells us when a backend that we did not start goes away. */
		s->ready_by = deadline_in(a->settings.backend_start_timeout_ms < 10000 ? a->settings.backend_start_timeout_ms : 10000);
		if (!backend_ready(a, s))
			backend_later(a, s);
	}
}

void *backend_run(void *agent)
{
	struct agent *a = agent;
	while (!atomic_load(&a->stopping)) {
		pthread_mutex_lock(&a->lock);
		struct served *s = a->served; /* entries are only ever put in front */
		pthread_mutex_unlock(&a->lock);
		for (; s && !atomic_load(&a->stopping); s = s->next)
			backend_tick(a, s);
		nanosleep(&(struct timespec){ .tv_nsec = TICK_MS * 1000000L }, NULL);
	}
	return NULL;
}
