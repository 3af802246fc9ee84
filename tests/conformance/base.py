"""Writes the image that every case starts from, as an OCI layout: busybox, a few files, two users."""

import functools
import gzip
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile

FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\nother:x:1001:100::/:/bin/sh\n",
    "etc/group": "root:x:0:\nusers:x:100:user\nstaff:x:50:user,other\nuser:x:1000:\n",
    "etc/motd": "the base\n",
    "usr/share/words/one": "one\n",
    "usr/share/words/two": "two\n",
}
DIRECTORIES = ["bin", "dev", "etc", "home", "home/user", "opt", "proc", "root", "run", "sys", "tmp", "usr",
               "usr/bin", "usr/share", "usr/share/words", "var", "var/data"]
LINKS = {"opt/link-to-data": "/var/data", "opt/link-to-words": "../usr/share/words", "opt/dangling": "/nowhere/at/all"}
TIME = 1_600_000_000


@functools.cache
def root_layer():
    """The layer, and how it is packed."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        def add(name, kind, mode=0o755, data=b"", link=""):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.size, entry.linkname, entry.mtime = kind, mode, len(data), link, TIME
            if name == "home/user":
                entry.uid = entry.gid = 1000
            tar.addfile(entry, io.BytesIO(data))
        for name in DIRECTORIES:
            add(name, tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755)
        busybox = pathlib.Path("/bin/busybox").read_bytes()
        add("bin/busybox", tarfile.REGTYPE, data=busybox)
        applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
        for applet in sorted(set(applets) - {"busybox"}):
            add(f"bin/{applet}", tarfile.SYMTYPE, 0o777, link="busybox")
        for name, text in FILES.items():
            add(name, tarfile.REGTYPE, 0o644, text.encode())
        for name, target in LINKS.items():
            add(name, tarfile.SYMTYPE, 0o777, link=target)
    return out.getvalue(), gzip.compress(out.getvalue(), mtime=0)


def another_layer(name):
    """The same files, but a layer that nobody has seen yet: a comment for each `name` goes before them."""
    layer, packed = root_layer()
    comment = tarfile.TarInfo.create_pax_global_header({"comment": name})
    return comment + layer, gzip.compress(comment, mtime=0) + packed


def write(directory, name, packed_layer=None):
    """Writes the layout, of another layer (as it is, as it is packed) than the usual if one is given. What is made for
    another `name` is another image, with the same content."""
    root = pathlib.Path(directory)
    (root / "blobs/sha256").mkdir(parents=True)

    def blob(data, media):
        digest = hashlib.sha256(data).hexdigest()
        (root / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data)}

    layer, packed = packed_layer or root_layer()
    packed = blob(packed, "application/vnd.oci.image.layer.v1.tar+gzip")
    # Where it shows nowhere: nothing of a base's first line of history is compared but its text.
    second = int(hashlib.sha256(name.encode()).hexdigest()[:6], 16)
    created = f"2020-{second % 12 + 1:02}-{second // 12 % 28 + 1:02}T{second // 336 % 24:02}:26:{second // 8064 % 60:02}Z"
    config = {
        "created": created, "architecture": "amd64", "os": "linux",
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        "history": [{"created": created, "created_by": "the base"}],
    }
    config = blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    manifest = blob(json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [packed],
    }).encode(), "application/vnd.oci.image.manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
