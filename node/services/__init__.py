"""A node's tasks under trio: chain, gossip, sync, mining. They own the waiting; the rules are in ledger."""
