"""Images whose layers do what no builder does, for explorer/run to show to witnesses.

    tricky.py DIR      writes DIR/NAME/layout, DIR/NAME/image.tar (the same in the form of `docker save` before version
                       25) and DIR/NAME/witness: whose word counts, umoci's, or docker's where umoci does not know
"""

import gzip
import hashlib
import json
import os
import sys

from members import END, d, f, h, l, member, node, opq, pax, pax_of, raw, wh

BASE = [d("d"), f("d/old", "old!"), d("d/sub"), f("d/sub/deep", "deep"), f("e", "eee"), d("k"), f("k/a", "12345")]
LINKED = [f("a", "12345"), h("b", "a")]
ALIAS = [d("real"), f("real/x"), l("alias", "real")]
LONG = "segment" * 20
OVERLAY = {"SCHILY.xattr.trusted.overlay.opaque": "y"}
MAP_IN_FRONT = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s", "GNU.sparse.realsize": "3000"}
MAP_IN_RECORDS = {"GNU.sparse.size": "3000", "GNU.sparse.numblocks": "1", "GNU.sparse.map": "1000,5",
                  "GNU.sparse.name": "t"}


def old(*member, **more): return raw(*member, magic=b"", **more)


CASES = {
    # Opaque directories, with the mark at any place.
    "opaque first": (BASE, [d("d"), opq("d"), f("d/new")]),
    "opaque last": (BASE, [d("d"), f("d/new"), opq("d")]),
    "opaque without a header": (BASE, [f("d/new"), opq("d")]),
    "opaque before its header": (BASE, [opq("d"), d("d", mode=0o700)]),
    "opaque in the lowest layer": ([opq("d"), d("d"), f("d/x")],),
    "opaque twice": (BASE, [d("d"), opq("d"), d("d/sub"), opq("d/sub"), f("d/sub/new")]),
    "opaque over what is below it": (BASE, [opq("d"), f("d/sub/new")]),
    "opaque, then filled again": (BASE, [d("d"), opq("d")], [f("d/old", "again")]),
    "opaque over a lower file": (BASE, [d("e"), opq("e"), f("e/x")]),
    "opaque at a file of its own layer": (BASE, [f("d"), opq("d"), f("k"), opq("k/a")]),
    "opaque by other paths": (BASE, [opq("./d"), opq("/k"), f("./d/new")]),
    "opaque at a link of its own layer": ([d("real"), f("real/x")], [l("alias", "real"), opq("alias")]),
    "opaque with content": (BASE, [f("d/.wh..wh..opq", "what should be empty")]),
    "names like the opaque mark": (BASE, [f("d/.wh..wh..opqx", "")]),
    "opaque over one name of a file": ([d("d"), f("d/a", "12345"), h("k", "d/a")], [opq("d"), f("d/b")]),
    "opaque over the target of a link": ([f("d/a", "12345")], [h("kept", "d/a"), opq("d")]),
    "docker: opaque at a lower link": (ALIAS, [opq("alias")]),
    "docker: opaque at a lower link, with a file": (ALIAS, [opq("alias"), f("alias/y")]),
    "docker: opaque where nothing is": (BASE, [opq("absent/dir")]),
    "docker: opaque by overlayfs' mark": (BASE, [pax_of(OVERLAY) + d("d"), f("d/new")]),
    # Whiteouts.
    "whiteouts": (BASE, [wh("e"), wh("d/old"), wh("k")]),
    "whiteouts by other paths": (BASE, [wh("./e"), wh("/d/old"), f("d/sub/../.wh.sub", "")]),
    "whiteout before what is new": (BASE, [wh("e"), f("e", "new"), wh("d"), d("d"), f("d/new")]),
    "whiteout behind what is new": (BASE, [f("e", "new"), wh("e"), f("d/new"), wh("d")]),
    "whiteout of its own layer's": ([f("a"), wh("a")],),
    "whiteout of what an opaque mark hides": (BASE, [opq("d"), wh("d/old"), f("d/z")]),
    "whiteout, and what is below it": (BASE, [wh("d"), f("d/sub/x")]),
    "whiteouts of every kind": (BASE, [d(".wh.e"), l("d/.wh.old", "x"), f(".wh.k", "content")]),
    "whiteout of a link": (ALIAS, [wh("alias")]),
    "whiteout through a link of its own layer": ([d("real"), f("real/x")], [l("alias", "real"), wh("alias/x")]),
    "whiteout of a name that is no text": ([member(b"n\xff\xfe", b"0")], [member(b".wh.n\xff\xfe", b"0")]),
    "away and back again": (BASE, [wh("e")], [f("e", "back")], [wh("e")], [f("e", "twice")]),
    "docker: whiteout through a lower link": (ALIAS, [wh("alias/x")]),
    "docker: whiteouts where nothing is": (BASE, [wh("nope"), wh("no/such/x"), wh("e/x")]),
    "docker: devices that are whiteouts": (BASE, [node("e", b"3"), node("d", b"3")]),
    # One kind over another.
    "a file over a directory": (BASE, [f("d", "now a file")]),
    "a directory over a file": (BASE, [d("e"), f("e/x")]),
    "a file over a directory over a file": (BASE, [d("e"), f("e/x")], [f("e", "again")]),
    "a file, then a directory": (BASE, [f("d"), d("d"), f("d/z")]),
    "a link over a directory": (BASE, [l("d", "k")]),
    "a link over a directory, and through it": (BASE, [l("d", "k"), f("d/z")]),
    "a directory over a link": (ALIAS, [d("alias"), f("alias/y")]),
    "devices": ([node("p", b"6"), node("c", b"3", 1, 3), node("b", b"4", 7, 0)], [f("p"), node("c", b"6")]),
    "no headers for directories": ([f("a/b/c")], [d("a", mode=0o711)], [f("a/b/z")]),
    "a directory behind what is in it": ([f("a/x"), d("a", mode=0o700, uid=3)],),
    "the root's own properties": ([d(".", mode=0o700, uid=9), f("x")],),
    "docker: a directory for a lower link": (ALIAS, [f("alias/y")]),
    "docker: a directory for a lower file": ([f("e")], [f("e/x/y")]),
    # Paths more than once in a layer.
    "a file twice": ([f("a", "first"), f("a", "second, longer"), f("b")], [f("a", "3")]),
    "a directory, then a file": ([d("a"), f("a/x"), f("a", "file")],),
    "linked to before and after": ([f("a", "first"), h("b", "a"), f("a", "second"), h("c", "a")],),
    "a name of another file, then a file": ([f("a", "aaa"), h("b", "a"), f("b", "bbbb")],),
    "linked, and both anew": ([f("a", "aaa"), h("b", "a"), f("a", "xx"), h("b", "a")],),
    # Hard links.
    "links in a chain": ([f("a", "12345"), h("b", "a"), h("c", "b"), h("d", "c")],),
    "links that say a size": ([f("a", "12345"), h("b", "a", size=5), f("c")],),
    "links by other paths": ([f("x/a", "12345"), h("b", "/x/a"), h("c", "./x/a"), h("e", "x/../x/a"), h("g", "x//a")],),
    "a link through a link": ([f("x/a", "12345"), l("y", "x"), h("b", "y/a")],),
    "links to links and devices": ([l("s", "nowhere"), h("t", "s"), node("p", b"6"), h("q", "p")],),
    "a link over a directory of files": ([f("d/x"), f("a", "aa"), h("d", "a")],),
    "one name goes": (LINKED, [wh("a")]),
    "one name is written anew": (LINKED, [f("a", "new")]),
    "one name after the other goes": (LINKED, [wh("a")], [wh("b")]),
    "one name has another owner": (LINKED, [f("a", "12345", uid=5)]),
    "both names have another owner": (LINKED, [f("a", "12345", uid=5), h("b", "a", uid=5)]),
    "links out of their layers": ([f("a", "12345")], [h("b", "a")], [h("c", "b")], [wh("a")]),
    "a link out of its layer, its target gone": ([f("a", "12345")], [h("b", "a"), wh("a")]),
    "a link out of its layer, its target anew": ([f("a", "12345")], [h("b", "a"), f("a", "other")]),
    "a link to what comes later": ([f("a", "old")], [h("b", "a"), f("a", "newer")]),
    "docker: links with properties of their own": ([f("a", mode=0o600, uid=1), h("b", "a", mode=0o755, uid=7, gid=8)],),
    # Names, numbers and records of every writer.
    "GNU's long names": ([d(LONG), f(f"{LONG}/{LONG}"), l("l", f"{LONG}/{LONG}"), h("h", f"{LONG}/{LONG}")],),
    "a prefix": ([raw(b"tail", b"0", b"x", prefix=b"some/prefix")],),
    "no prefix of GNU's": ([raw(b"gnu", b"0", b"x", prefix=b"1", magic=b"ustar  \0")],),
    "before POSIX": ([old(b"a", b"\0", b"abc"), old(b"dir/", b"\0", mode=0o755), old(b"l", b"1", to=b"a")],),
    "PAX names": ([pax(path="p" * 200) + f("short"), pax(path="l", linkpath="t" * 300) + l("s", "q")],),
    "PAX sizes": ([pax(size="5") + raw(b"a", b"0", b"hello", size=0),
                   pax(size="3") + raw(b"b", b"0", b"abc", size=1000), f("c")],),
    "PAX owners": ([pax(uid="3000000", gid="4000000", mtime="1234567890.123456789") + f("a")],),
    "PAX records twice": ([pax(path="first") + pax(uid="5") + f("a"), pax(path="") + f("b")],),
    "PAX and GNU": ([raw(b"././@LongLink", b"L", b"by-gnu\0") + pax(path="by-pax") + f("a")],),
    "docker: PAX for all": ([pax(b"g", path="evil", size="512"), f("a"), f("b")],),
    "binary numbers": ([raw(b"a", b"0", b"hello", size=b"\x80" + bytes(10) + b"\5", uid=3000000, gid=2097157),
                        f("z")],),
    "times before 1970": ([raw(b"a", b"0", b"x", time=b"\xff" * 11 + b"\xfd"), pax(mtime="-5.5") + f("b")],),
    "sizes of what has none": ([raw(b"d/", b"5", size=512, mode=0o755), raw(b"l", b"2", size=100, to=b"t"), f("z")],),
    "modes of every kind": ([f("a", mode=0o4755), f("b", mode=0o2755), d("c", mode=0o1777), f("e", mode=0o7777),
                             f("f", mode=0o100644)],),
    "dots and slashes": ([f("./a/./b//c"), f("a/../x"), f(".//y"), d("."), f("/abs/z"), member("file/", b"0", b"x")],),
    "names that act on terminals": ([f("\x1b]52;c;aGk=\x07"), f("new\nline"), member(b"\x9b31m", b"0"),
                                     f("\u202ertl")],),
    "sparse files": ([pax_of(MAP_IN_FRONT) + f("x", b"1\n1000\n5\n".ljust(512, b"\0").decode() + "hello"),
                      pax_of(MAP_IN_RECORDS) + f("x", "hello")],),
    # Layers.
    "the same layer twice": ([f("a")], [f("b")], [f("a")]),
    "empty layers": ([], [f("a")], []),
    "no layers": (),
}


def digest(content):
    return hashlib.sha256(content).hexdigest()


def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def image(at, name, layers):
    def blob(kind, content):
        write(f"{at}/layout/blobs/sha256/{digest(content)}", content)
        media_type = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media_type, "digest": f"sha256:{digest(content)}", "size": len(content)}

    archives = [b"".join(layer) + END for layer in layers]
    config = {"architecture": "amd64", "os": "linux", "config": {},
              "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(archive)}" for archive in archives]}}
    config = json.dumps(config).encode()
    # Every other one compressed.
    blobs = [gzip.compress(archive, 1) if number % 2 else archive for number, archive in enumerate(archives)]
    manifest = {"schemaVersion": 2, "config": blob("config.v1+json", config),
                "layers": [blob("layer.v1.tar" + "+gzip" * (at % 2), content) for at, content in enumerate(blobs)]}
    entry = blob("manifest.v1+json", json.dumps(manifest).encode())
    entry["annotations"] = {"org.opencontainers.image.ref.name": "it"}
    write(f"{at}/layout/index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())
    write(f"{at}/layout/oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    names = [f"{number}/layer.tar" for number in range(len(archives))]
    saved = json.dumps([{"Config": f"{digest(config)}.json", "RepoTags": [f"tricky:{name}"], "Layers": names}]).encode()
    files = [(f"{digest(config)}.json", config), ("manifest.json", saved), *zip(names, archives)]
    write(f"{at}/image.tar", b"".join(raw(path.encode(), b"0", content) for path, content in files) + END)


def main(into):
    for number, (what, layers) in enumerate(CASES.items()):
        witness, _, what = what.rpartition(": ")
        at = f"{into}/{what}"
        image(at, str(number), layers)
        write(f"{at}/witness", (witness or "umoci").encode())


main(sys.argv[1])
