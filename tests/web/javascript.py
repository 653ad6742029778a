"""Find the literals of JavaScript that a person could read."""

import re
from collections.abc import Iterator

_COMMENT = r"//[^\n]*|/\*.*?\*/"
_STRING = r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\""
# A slash begins a pattern where no value can stand before it.
_PATTERN = (
    r"(?<=[(,=:\[!&|?{};\n])\s*/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n])+/[a-z]*"
)
_TOKEN = re.compile(
    rf"(?P<comment>{_COMMENT})|(?P<string>{_STRING})|(?P<pattern>{_PATTERN})|[`{{}}]",
    re.DOTALL,
)
_TEMPLATE_END = re.compile(r"\\.|`|\$\{", re.DOTALL)

# Names of the platform and of languages, which look like words of a text.
_NAMES = re.compile(
    r"Accept|AbortError|Authorization|Bearer |Content-Type|Files|English|Deutsch"
    r"|Arrow(Up|Down|Left|Right)|Enter|Escape|Home|End"
    r"|(NotAllowed|Security|NotFound|Overconstrained|NotReadable|Abort)Error"
    r"|utterance open|\(prefers-[a-z-]+: [a-z]+\)"
)


def literals(source: str) -> Iterator[str]:
    """Give the strings of a program, and the fixed parts of its templates."""
    at, open_braces = 0, [0]
    while (found := _TOKEN.search(source, at)) is not None:
        at = found.end()
        token = found[0]
        if found["string"]:
            yield token[1:-1]
        elif token == "{":
            open_braces[-1] += 1
        elif token == "}" and open_braces[-1]:
            open_braces[-1] -= 1
        elif token in "`}":
            # A template begins, or goes on after a value.
            if token == "}":
                open_braces.pop()
            begin = at
            while (end := _TEMPLATE_END.search(source, at)) is not None:
                at = end.end()
                if end[0] in ("`", "${"):
                    break
            assert end is not None, "a template has no end"
            yield source[begin : end.start()]
            if end[0] == "${":
                open_braces.append(0)


def texts(source: str) -> list[str]:
    """Return the literals that read like text: several words, or one with a capital."""
    return [
        literal
        for literal in literals(source)
        if not _NAMES.fullmatch(literal)
        and re.search(r"[^\W\d_]{2,}[,.:;]? [^\W\d_]|\b[A-Z][a-zà-ÿ]|…", literal)
    ]
