"""The data plane: shards, order, decoding, pair batches."""
