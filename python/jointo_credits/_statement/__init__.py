"""How a statement is shown: `view.py` says what, as text; `table.py`, `page.py` and `document.py` write it as CSV, HTML
and PDF."""
