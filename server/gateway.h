/* The gateway as one call. Called by main.c. */
#ifndef OPGATE_SERVER_GATEWAY_H
#define OPGATE_SERVER_GATEWAY_H

/* Runs the gateway until SIGTERM or SIGINT. The exit code: 0; 1 it could not start; 2 the settings are wrong. Says why on stderr. */
int gateway_serve(const char *config_path);

#endif
