"""Prometheus metrics and the console."""
