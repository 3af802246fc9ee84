"""Members of archives, byte by byte: also those that no writer of archives would write."""

END = bytes(1024)


def number(value, width):
    """Octal digits, or what they have no room for in binary; bytes as they are."""
    if isinstance(value, bytes):
        return value.ljust(width, b"\0")
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return bytes([0x80]) + value.to_bytes(width - 1, "big")


def raw(name, kind, content=b"", size=None, mode=0o644, uid=0, gid=0, time=10**9, to=b"", dev=(0, 0), prefix=b"",
        magic=b"ustar\00000"):
    """A member as it stands in an archive: nothing is worked out but its size and its checksum."""
    size = len(content) if size is None else size
    fields = [(0, name[:100]), (100, number(mode, 8)), (108, number(uid, 8)), (116, number(gid, 8)),
              (124, number(size, 12)), (136, number(time, 12)), (148, b" " * 8), (156, kind), (157, to[:100]),
              (257, magic), (329, number(dev[0], 8)), (337, number(dev[1], 8)), (345, prefix)]
    block = bytearray(512)
    for at, field in fields:
        block[at:at + len(field)] = field
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + content + bytes(-len(content) % 512)


def member(name, kind, content=b"", to=b"", **more):
    """The same with names of any length, in GNU's form."""
    name, to = (text if isinstance(text, bytes) else text.encode() for text in (name, to))
    long = raw(b"././@LongLink", b"K", to + b"\0") if len(to) > 100 else b""
    long += raw(b"././@LongLink", b"L", name + b"\0") if len(name) > 100 else b""
    return long + raw(name, kind, content, to=to, **more)


def f(name, content="x", **more): return member(name, b"0", content.encode(), **more)
def d(name, mode=0o755, **more): return member(name + "/", b"5", mode=mode, **more)
def l(name, to, **more): return member(name, b"2", to=to, mode=0o777, **more)
def h(name, to, **more): return member(name, b"1", to=to, **more)
def node(name, kind, major=0, minor=0): return member(name, kind, dev=(major, minor))


def wh(path):
    dir, _, name = path.rpartition("/")
    return f(f"{dir}/.wh.{name}" if dir else f".wh.{name}", "")


def opq(dir): return f(f"{dir}/.wh..wh..opq", "")


def pax(kind=b"x", **records):
    return pax_of(records, kind)


def pax_of(records, kind=b"x"):
    """Records for the member behind it; `LENGTH KEY=VALUE`, where the length counts itself."""
    text = b""
    for key, value in records.items():
        rest = b" %s=%s\n" % (key.encode(), value if isinstance(value, bytes) else value.encode())
        length = next(n for n in range(len(rest), len(rest) + 9) if len(str(n)) + len(rest) == n)
        text += b"%d%s" % (length, rest)
    return raw(b"PaxHeaders/x", kind, text)
