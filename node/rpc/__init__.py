"""The local HTTP API: the client here imports only the standard library, the server lives beside it."""
