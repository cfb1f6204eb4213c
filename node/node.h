/* The node agent's entry: `opgate node --config FILE [--check]`. */
#ifndef OPGATE_NODE_NODE_H
#define OPGATE_NODE_NODE_H

int node_main(int argc, char **argv);

#endif
