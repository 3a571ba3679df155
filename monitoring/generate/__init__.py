"""Dashboards and alert rules as code; `make generate` writes the files beside this folder."""
