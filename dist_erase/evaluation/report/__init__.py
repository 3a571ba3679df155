"""The report: JSON, HTML and the terminal table."""
