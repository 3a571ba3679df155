"""One pool of shards → forget, retain, hold-out and reserve sets that share no image."""
