"""The rules of the chain: pure functions over blocks and state, without network, clock or tensors."""
