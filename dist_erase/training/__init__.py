"""The DeepSpeed train loop, step by step; knows nothing of Ray."""
