"""Real things that tests share: processes, rows; no fakes."""
