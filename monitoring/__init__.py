"""Prometheus, Grafana and alert rules for dist-erase; `generate/` makes the generated ones."""
