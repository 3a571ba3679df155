"""Every metric's record, a file for each group of questions; `observability.metrics` joins them."""
