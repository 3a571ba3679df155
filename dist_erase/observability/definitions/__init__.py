"""Every metric's record, one file for each group of questions; `observability.metrics` joins them."""
