/* `opgate reconcile --from-chain`: the books against the chain's logs from the beginning, reading only. */
#ifndef OPGATE_HANDLERS_RECONCILE_COMMAND_H
#define OPGATE_HANDLERS_RECONCILE_COMMAND_H

/* from: the first block as text, or NULL for the configured one. Prints one line a difference and a closing line of JSON to stdout,
 * progress to stderr. 0: exact. 1: differences. 2: could not check. */
int reconcile_command(const char *config_path, const char *from);

#endif
