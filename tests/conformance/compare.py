"""Compares two images, in words."""

import collections
import re

import image

# What Docker gives a new name for every command: its control group, and the group of its root's mount.
MADE_UP = re.compile(r"(?<=/docker/buildkit/)[a-z0-9]{25}\b|(?<=\bmaster:)\d+\b")
FIELDS = ["kind", "mode", "uid", "gid", "link", "device", "xattrs", "size", "hash"]


def differences(ours, theirs, since):
    """Lines, each one difference. A time in Docker's image after `since` is that of the build: no rule, so any is right."""
    (our_config, our_files, our_layers), (their_config, their_files, their_layers) = ours, theirs
    out = []
    for name in sorted(set(our_config) | set(their_config)):
        here, there = our_config.get(name), their_config.get(name)
        if here != there:
            out.append(f"{name}: {here!r} here, {there!r} in Docker")
    out += trees(our_files, their_files, since)
    for number, (here, there) in enumerate(zip(our_layers, their_layers)):
        if here != there:
            here, there = ({path: (inode, []) for path, inode in image.entries(layer)} for layer in (here, there))
            # What differs in the end too is told once.
            out += [f"layer {number}: {line}" for line in trees(here, there, since) if line not in out]
    return out


def trees(ours, theirs, since):
    out = []
    for path in sorted(set(ours) | set(theirs)):
        if path not in theirs:
            out.append(f"{path}: only here")
        elif path not in ours:
            out.append(f"{path}: only in Docker")
        else:
            out += [f"{path}: {line}" for line in entry(ours[path], theirs[path], since)]
    return out


def entry(ours, theirs, since):
    (here, our_group), (there, their_group) = ours, theirs
    for field in FIELDS:
        a, b = getattr(here, field), getattr(there, field)
        if a == b:
            continue
        if field == "size":
            continue
        if field == "hash":
            if here.data is not None and there.data is not None and b"\n" in here.data.rstrip():
                yield from lines(text(here), text(there))
                continue
            a, b = (text(it) for it in (here, there))
            if a == b:
                continue
        yield f"{field} {a!r} here, {b!r} in Docker"
    if our_group != their_group:
        yield f"hard links {our_group} here, {their_group} in Docker"
    if here.mtime != there.mtime < since:
        yield f"time {here.mtime} here, {there.mtime} in Docker"


def lines(ours, theirs):
    """The lines that only one of two texts has. `NAME: VALUE`, where both have that name once, is one difference."""
    here, there = collections.Counter(ours.splitlines()), collections.Counter(theirs.splitlines())
    here, there = list((here - there).elements()), list((there - here).elements())
    name = lambda line: line.rpartition(": ")[0]
    names = collections.Counter(map(name, here)), collections.Counter(map(name, there))
    paired = {line: name(line) for line in here + there if name(line) and all(it[name(line)] == 1 for it in names)}
    values = {paired[line]: line.rpartition(": ")[2] for line in there if line in paired}
    for line in here:
        if line in paired:
            yield f"{paired[line]}: {line.rpartition(': ')[2]!r} here, {values[paired[line]]!r} in Docker"
        else:
            yield f"line {line!r} only here"
    for line in there:
        if line not in paired:
            yield f"line {line!r} only in Docker"


def text(inode):
    if inode.data is None:
        return f"{inode.size} bytes, {inode.hash}"
    return MADE_UP.sub("…", inode.data.decode(errors="backslashreplace"))
