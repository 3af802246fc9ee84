"""The differences that are meant, from on-purpose.md.

`- AREA/CASE, AREA/CASE…: the reason` and below it, each on a line of its own, `  - `PATTERN``: what differs, as the report says it,
`*` being any run of characters and `?` any one. Of `  - may: `PATTERN`` it depends on the machine whether it does.
"""

import re


def read(path):
    """The patterns of each case."""
    meant, found = {}, []
    for line in path.read_text().splitlines():
        cases = re.match(r"- ([a-z]+/[a-z0-9-]+(?:, [a-z]+/[a-z0-9-]+)*):", line)
        pattern = re.fullmatch(r"  - (may: )?`(.*)`", line)
        if cases:
            found = [meant.setdefault(name, []) for name in cases[1].split(", ")]
        elif pattern:
            for patterns in found:
                patterns.append((pattern[2], pattern[1] is None))
    return meant


def left(lines, patterns, all_engines=True):
    """The differences that no pattern excuses. A pattern that excuses none is one, so that the list stays short; if only
    some engines build, that is nothing to go by."""
    used, out = set(), []
    for line in lines:
        fits = [pattern for pattern, _ in patterns if matches(pattern, line)]
        used.update(fits)
        if not fits:
            out.append(line)
    return out + [f"on-purpose.md excuses `{pattern}`, which does not differ"
                  for pattern, must in patterns if must and all_engines and pattern not in used]


def matches(pattern, line):
    """What is meant is meant for ordinary users too; `rootless: …` is for them alone. It is meant of the engine here:
    what a Docker Engine is only asked for must be equal."""
    if line.startswith("through Docker: ") and not pattern.startswith("through Docker: "):
        return False
    expression = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.S)
    return any(expression.fullmatch(it) for it in (line, line.removeprefix("rootless: ")))
