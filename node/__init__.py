"""The peer: network, services, command line. Composes the ledger and the training engine."""
