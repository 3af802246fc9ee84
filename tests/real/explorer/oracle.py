"""Listings of one file system from different witnesses, for explorer/run to compare.

    oracle.py tree DIR             a directory, as the file system has it
    oracle.py tar FILE             an archive of a whole file system (docker export), by Python's tarfile
    oracle.py layers FILE DIR      applies the layers of a docker-save archive to DIR, with GNU tar and whiteouts
    oracle.py explore FILE         the answer of `stagedive explore --json`
    oracle.py size FILE            checks the sums of `stagedive size --json --files`; prints its live bytes
    oracle.py total LISTING        content bytes of a listing, an inode of several names once

A listing has a line for each path: kind, mode, owner, group, size, path, target; and the first name of its inode,
names being in byte order.
"""

import json
import os
import stat
import subprocess
import sys
import tarfile


def text(path):
    return os.fsencode(path).decode("utf-8", "surrogateescape").encode("unicode_escape", "surrogateescape").decode()


def show(entries):
    """Entries: (path, kind, mode, uid, gid, size, target, inode); inode is None where there is one name."""
    first = {}
    for path, *_, inode in sorted(entries):
        if inode is not None:
            first.setdefault(inode, path)
    for path, kind, mode, uid, gid, size, target, inode in sorted(entries):
        name = first.get(inode, path)
        print(f"{kind} {mode:04o} {uid}:{gid} {size} {text(path)} -> {text(target)} = {text(name)}")


KINDS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p", stat.S_IFCHR: "c", stat.S_IFBLK: "b"}


def tree(root):
    entries = []
    for dir, dirs, files in os.walk(root):
        for name in dirs + files:
            path = os.path.join(dir, name)
            it = os.lstat(path)
            kind = KINDS[stat.S_IFMT(it.st_mode)]
            mode = 0o777 if kind == "l" else stat.S_IMODE(it.st_mode)
            target = os.readlink(path) if kind == "l" else ""
            inode = it.st_ino if kind != "d" and it.st_nlink > 1 else None
            size = it.st_size if kind == "f" else 0
            entries.append((os.path.relpath(path, root), kind, mode, it.st_uid, it.st_gid, size, target, inode))
    return entries


TYPES = {tarfile.REGTYPE: "f", tarfile.AREGTYPE: "f", tarfile.DIRTYPE: "d", tarfile.SYMTYPE: "l", tarfile.FIFOTYPE: "p",
         tarfile.CHRTYPE: "c", tarfile.BLKTYPE: "b", tarfile.GNUTYPE_SPARSE: "f"}


def tar(file):
    entries = {}
    inodes = {}
    with tarfile.open(file, errors="surrogateescape") as archive:
        for member in archive:
            path = member.name.removeprefix("./").strip("/")
            if path in ("", "."):
                continue
            if member.type == tarfile.LNKTYPE:
                to = member.linkname.removeprefix("./").strip("/")
                inodes.setdefault(to, to)
                inodes[path] = inodes[to]
                entries[path] = entries[to]
                continue
            kind = TYPES[member.type]
            mode = 0o777 if kind == "l" else member.mode & 0o7777
            size = member.size if kind == "f" else 0
            entries[path] = (kind, mode, member.uid, member.gid, size, member.linkname if kind == "l" else "")
    return [(path, *entry, inodes.get(path)) for path, entry in entries.items()]


def layers(archive, into):
    """By the rules of the OCI layer format: what is hidden goes first, then the layer is unpacked over the rest."""
    with tarfile.open(archive) as whole:
        manifest = json.load(whole.extractfile("manifest.json"))
        for number, name in enumerate(manifest[0]["Layers"]):
            layer = os.path.join(os.path.dirname(os.path.abspath(into)), f"layer-{number}.tar")
            with open(layer, "wb") as out:
                out.write(whole.extractfile(name).read())
            apply(layer, into)
            os.remove(layer)


def real(root, path):
    """A path below root whose directories are the root's own, never what a link leads to outside."""
    return os.path.join(root, path.removeprefix("./").strip("/"))


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        subprocess.run(["rm", "-rf", "--one-file-system", path], check=True)
    elif os.path.lexists(path):
        os.remove(path)


def apply(layer, into):
    with tarfile.open(layer, errors="surrogateescape") as members:
        members = [(member.name, member.isdir()) for member in members]
    for name, _ in members:
        dir, base = os.path.split(name.removeprefix("./").rstrip("/"))
        at = real(into, dir)
        if base == ".wh..wh..opq":
            # Never through a link of a lower layer.
            for child in os.listdir(at) if os.path.isdir(at) and not os.path.islink(at) else []:
                remove(os.path.join(at, child))
        elif base.startswith(".wh.") and not base.startswith(".wh..wh."):
            remove(os.path.join(at, base[len(".wh."):]))
    for name, is_dir in members:
        at = real(into, name)
        if not is_dir and os.path.isdir(at) and not os.path.islink(at):
            remove(at)
    command = ["tar", "-xpf", layer, "-C", into, "--numeric-owner", "--same-owner", "--exclude=.wh.*", "--xattrs"]
    subprocess.run(command, check=True)


def explore(file):
    with open(file) as answer:
        image = json.load(answer)
    kinds = {"file": "f", "directory": "d", "symlink": "l", "fifo": "p", "char-device": "c", "block-device": "b"}
    entries = []
    for it in image["files"]:
        kind = kinds[it["kind"]]
        mode = 0o777 if kind == "l" else it["mode"]
        target = it["target"]["path"] if kind == "l" else ""
        path = name(it)
        if path:
            entries.append((path, kind, mode, it["uid"], it["gid"], it["size"], target, it.get("inode")))
    # A name that is alone is no hard link to those who count names.
    names = {}
    for *_, inode in entries:
        names[inode] = names.get(inode, 0) + 1
    return [(*rest, inode if names[inode] > 1 else None) for *rest, inode in entries]


def name(it):
    import base64
    if "path_base64" in it:
        return os.fsdecode(base64.b64decode(it["path_base64"]))
    return it["path"]


def size(file):
    with open(file) as answer:
        it = json.load(answer)
    layers = it["layers"]
    rules = {
        "total is live and dead": (it["total_bytes"], it["live_bytes"] + it["dead_bytes"]),
        "total is all layers": (it["total_bytes"], sum(layer["bytes"] for layer in layers)),
        "dead is its parts": (it["dead_bytes"], it["overwritten_bytes"] + it["deleted_bytes"] + it["metadata_bytes"]),
        "dead is that of all layers": (it["dead_bytes"], sum(layer["dead_bytes"] for layer in layers)),
        "dead is what layers killed": (it["dead_bytes"], sum(layer["killed_bytes"] for layer in layers)),
        "files are all": (it["total_bytes"], sum(file["bytes"] for file in it["files"])),
        "live files are live": (it["live_bytes"], sum(f["bytes"] for f in it["files"] if f["state"] == "live")),
    }
    for rule, (left, right) in rules.items():
        if left != right:
            sys.exit(f"{rule}: {left} is not {right}")
    print(it["live_bytes"])


def total(listing):
    inodes = {}
    with open(listing) as lines:
        for line in lines:
            kind, _, _, bytes, _ = line.split(" ", 4)
            if kind == "f":
                inodes[line.rsplit(" = ", 1)[1]] = int(bytes)
    print(sum(inodes.values()))


match sys.argv[1:]:
    case ["tree", dir]:
        show(tree(dir))
    case ["tar", file]:
        show(tar(file))
    case ["layers", file, dir]:
        layers(file, dir)
    case ["explore", file]:
        show(explore(file))
    case ["size", file]:
        size(file)
    case ["total", listing]:
        total(listing)
    case _:
        sys.exit(__doc__)
