"""Writes the generated files: `python -m monitoring.generate`, or `make generate`."""

from __future__ import annotations

from monitoring.generate.files import generated


def main() -> None:
    """Writes all of them."""
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
