"""A text filter: English numbers as digits, a capital letter, and a full stop.

    pip install text2num
    PYTHONPATH=examples TEXT_FILTER=written_form:write python server.py

"i have twenty three apples" becomes "I have 23 apples." A filter is any function that
takes the text of a segment and returns it in written form; it is called in a thread of
the server, one call at a time, so a model for punctuation may be loaded beside it.
"""

from text_to_num import alpha2digit


def write(text: str) -> str:
    """Return a text in written form."""
    with_digits = str(alpha2digit(text, "en"))
    return f"{with_digits[:1].upper()}{with_digits[1:]}."
