"""The training engine: tensors in, bytes and digests out, without ledger, network or event loop."""
