"""Write the files that are generated from the settings' model: the JSON schemas and the reference page."""

from __future__ import annotations

from pathlib import Path

from portable_backend.settings_pages import make_document_schema, make_reference, make_schema

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Write the schema into the package, and schemas and page into the documentation."""
    (ROOT / "src" / "portable_backend" / "settings.schema.json").write_text(make_schema(), encoding="utf-8")
    page = ROOT / "docs" / "reference" / "settings.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(make_reference(), encoding="utf-8")
    page.with_name("settings.schema.json").write_text(make_schema(), encoding="utf-8")
    page.with_name("pyproject.schema.json").write_text(make_document_schema(), encoding="utf-8")


if __name__ == "__main__":
    main()
