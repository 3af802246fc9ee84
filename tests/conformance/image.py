"""Reads an OCI archive into plain values: the image's configuration, its layers, and the file system that they make."""

import functools
import gzip
import hashlib
import io
import json
import subprocess
import tarfile

KINDS = {
    tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "hard link", tarfile.FIFOTYPE: "FIFO", tarfile.CHRTYPE: "character device", tarfile.BLKTYPE: "block device",
}
CONFIG = ["Env", "Cmd", "Entrypoint", "User", "WorkingDir", "ExposedPorts", "Volumes", "Labels", "Healthcheck",
          "StopSignal", "OnBuild", "Shell", "ArgsEscaped"]


# All images of a case have the same base, and most cases do.
@functools.lru_cache(16)
def decompressed(data):
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
    return data


def read(path):
    """The configuration as (field, value) pairs, the file system as {path: entry}, and the layers as they are."""
    with tarfile.open(path) as archive:
        def blob(digest):
            return archive.extractfile("blobs/" + digest.replace(":", "/")).read()

        index = json.load(archive.extractfile("index.json"))
        manifest = json.loads(blob(index["manifests"][0]["digest"]))
        while "manifests" in manifest:
            manifest = json.loads(blob(manifest["manifests"][0]["digest"]))
        image = json.loads(blob(manifest["config"]["digest"]))
        layers = [decompressed(blob(layer["digest"])) for layer in manifest["layers"] or []]
    config = {name: (image.get("config") or {}).get(name) or None for name in CONFIG}
    config["platform"] = "/".join(image.get(name) or "" for name in ["os", "architecture", "variant"])
    config["author"] = image.get("author") or None
    config["number of layers"] = len(layers)
    config["number of diff ids"] = len(image["rootfs"]["diff_ids"] or [])
    for number, entry in enumerate(image.get("history") or []):
        empty = " (no layer)" if entry.get("empty_layer") else ""
        config[f"history {number}"] = entry.get("created_by", "") + empty
    return config, merge(layers), layers


class Inode:
    """What the names of one file share."""

    def __init__(self, entry, data):
        self.kind = KINDS.get(entry.type, f"type {entry.type!r}")
        self.mode = "%04o" % entry.mode
        self.uid, self.gid = entry.uid, entry.gid
        self.mtime = int(entry.mtime)
        self.link = entry.linkname if entry.issym() or entry.islnk() else ""
        self.device = (entry.devmajor, entry.devminor) if "device" in self.kind else ""
        self.size = len(data)
        self.hash = hashlib.sha256(data).hexdigest()[:16] if self.kind == "file" else ""
        # Texts are told apart line by line.
        self.data = data if len(data) <= 1 << 20 and b"\0" not in data else None
        xattr = "SCHILY.xattr."
        self.xattrs = {k[len(xattr):]: v for k, v in sorted(entry.pax_headers.items()) if k.startswith(xattr)}


@functools.lru_cache(16)
def entries(layer):
    """What a layer says, in its order: paths, whiteouts among them, and what is there."""
    out = []
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        for entry in tar:
            path = "/" + entry.name.strip("/").removeprefix("./")
            inode = Inode(entry, tar.extractfile(entry).read() if entry.isreg() else b"")
            out.append(("/" if path in ("/", "/.") else path, inode))
    return out


def merge(layers):
    root = {}
    for layer in layers:
        below = set(root)
        for path, inode in entries(layer):
            parent, _, name = path.rpartition("/")
            if name == ".wh..wh..opq":
                remove(root, parent, below, itself=False)
            elif name.startswith(".wh."):
                remove(root, f"{parent}/{name[4:]}", below, itself=True)
            elif inode.kind == "hard link":
                root[path] = root["/" + inode.link.strip("/").removeprefix("./")]
                below.discard(path)
            else:
                if inode.kind != "directory":
                    remove(root, path, below, itself=False)
                root[path] = inode
                below.discard(path)
    groups = {}
    for path, inode in sorted(root.items()):
        groups.setdefault(id(inode), []).append(path)
    return {path: (inode, groups[id(inode)]) for path, inode in root.items()}


def remove(root, path, below, itself):
    """Takes away what layers below have there."""
    for name in list(below):
        if itself and name == path or name.startswith(path.rstrip("/") + "/"):
            del root[name]
            below.discard(name)
