"""The differences that are meant, from on-purpose.md.

`- AREA/CASE: the reason` and below it, each on a line of its own, `  - `PATTERN``: what may differ, as the report says
it, `*` being any run of characters.
"""

import re


def read(path):
    """The patterns of each case."""
    meant, patterns = {}, None
    for line in path.read_text().splitlines():
        case = re.match(r"- `?([a-z]+/[a-z0-9-]+)`?:", line)
        pattern = re.fullmatch(r"  - `(.*)`", line)
        if case:
            patterns = meant.setdefault(case[1], [])
        elif pattern:
            patterns.append(pattern[1])
    return meant


def left(lines, patterns):
    """The differences that no pattern excuses. A pattern that excuses none is one, so that the list stays short."""
    used, out = set(), []
    for line in lines:
        fits = [pattern for pattern in patterns if matches(pattern, line)]
        used.update(fits)
        if not fits:
            out.append(line)
    return out + [f"on-purpose.md excuses `{pattern}`, which does not differ" for pattern in patterns if pattern not in used]


def matches(pattern, line):
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), line, re.S) is not None
