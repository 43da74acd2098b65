"""The network: one interface, a libp2p implementation, an in-memory twin. Nothing else imports libp2p."""
