"""Compares two images, in words."""

FIELDS = ["kind", "mode", "uid", "gid", "link", "device", "xattrs", "size", "hash"]


def differences(ours, theirs, since):
    """Lines, each one difference. A time in Docker's image after `since` is that of the build: no rule, so any is right."""
    (our_config, our_files, _), (their_config, their_files, _) = ours, theirs
    out = []
    for name in sorted(set(our_config) | set(their_config)):
        here, there = our_config.get(name), their_config.get(name)
        if here != there:
            out.append(f"{name}: {here!r} here, {there!r} in Docker")
    for path in sorted(set(our_files) | set(their_files)):
        if path not in their_files:
            out.append(f"{path}: only here")
        elif path not in our_files:
            out.append(f"{path}: only in Docker")
        else:
            out += [f"{path}: {line}" for line in entry(our_files[path], their_files[path], since)]
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
            a, b = (text(it) for it in (here, there))
        yield f"{field} {a!r} here, {b!r} in Docker"
    if our_group != their_group:
        yield f"hard links {our_group} here, {their_group} in Docker"
    if here.mtime != there.mtime < since:
        yield f"time {here.mtime} here, {there.mtime} in Docker"


def text(inode):
    if inode.data is None:
        return f"{inode.size} bytes, {inode.hash}"
    return inode.data.decode(errors="backslashreplace")
