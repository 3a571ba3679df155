"""Typed configuration: sections, loading, explaining."""
