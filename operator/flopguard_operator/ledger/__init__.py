"""The append-only ledger: entries, Merkle tree, signed tree heads, store, verifier."""
