"""Cells of CSV files that no program that shows them computes or obeys, and their way back."""

from defectkit.control_characters import escape_controls, restore_controls

# Characters that make a spreadsheet read a cell as a formula (OWASP, CSV injection); the full-width
# ones do so in Chinese, Japanese and Korean settings. A leading quote is quoted too, so that
# ``unquote_formula`` restores exactly what was written.
FORMULA_STARTS = tuple("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")


def write_cell(value: object) -> object:
    """Return what a CSV has of a value: text is made harmless, None is an empty cell."""
    if isinstance(value, str):
        text = escape_controls(value)
        return "'" + text if text.startswith(FORMULA_STARTS) else text
    return "" if value is None else value


def read_cell(cell: str) -> str:
    r"""Return the text of a cell that ``write_cell`` made.

    >>> read_cell(write_cell("=1\n2"))
    '=1\n2'
    """
    return restore_controls(unquote_formula(cell))


def unquote_formula(cell: str) -> str:
    """Return a cell's text without the quote that ``write_cell`` put before a formula.

    >>> unquote_formula("'=1+1.png"), unquote_formula("'tis.png")
    ('=1+1.png', "'tis.png")
    """
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA_STARTS) else cell
