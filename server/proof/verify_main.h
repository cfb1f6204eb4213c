/* `opgate verify`: the offline check of a receipt. */
#ifndef OPGATE_PROOF_VERIFY_MAIN_H
#define OPGATE_PROOF_VERIFY_MAIN_H

/* argv[0] is the word "verify". Prints one line per check and the verdict; returns the exit code:
 * 0 passed, 1 failed, 2 unverifiable, 64 wrong usage or an unreadable file. */
int verify_main(int argc, char **argv);

#endif
