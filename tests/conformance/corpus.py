"""Builds real Dockerfiles with both engines: corpus.py SCRATCH. `corpus` prepares what this needs."""

import collections
import concurrent.futures
import gzip
import io
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import subprocess
import sys
import tarfile

import base
import cases

PROGRAMS = """sh bash ash dash zsh env cmd powershell pwsh python python3 node npm npx yarn pnpm corepack pip pip3 uv go cargo
rustup make cmake ninja gcc cc apk apt apt-get dpkg yum dnf microdnf tdnf zypper git curl wget tar ln ls chmod chown mkdir
rm cp mv cat echo true useradd adduser addgroup groupadd usermod mvn gradle java composer php bundle gem ruby dotnet xx-go
xx-apk xx-apt xx-verify""".split()
FILES = {"Makefile", "Dockerfile", "LICENSE", "README", "Gemfile", "Cargo", "gradlew", "mvnw", "VERSION", "entrypoint"}
# What a Docker Engine's front end may lack, where the program has it.
LACKING = re.compile(r"unknown flag: --(parents|device|security)")
SIGNS = {"fails in both": "both fail: ", "cannot be asked": "not in this Docker: "}


class Real(cases.Case):
    """A Dockerfile as a case: what it needs is made when it is its turn."""

    def __init__(self, name, text, scratch):
        super().__init__(pathlib.Path("corpus") / re.sub(r"[^A-Za-z0-9]+", "-", name)[-120:], scratch)
        self.label, self.text = name, text

    def prepare(self):
        self.scratch.mkdir(parents=True)
        self.context.mkdir()
        # A front end cannot be had without a network.
        text = re.sub(rb"^(#\s*)syntax(\s*=)", rb"\1no-syntax\2", self.text, flags=re.M | re.I)
        (self.scratch / "Dockerfile").write_bytes(text)
        self.options = []
        for name in self.facts("ast").get("arguments_without_value", []):
            self.options.append(f"--build-arg={name}=standin")
        edges = self.facts("graph").get("edges", [])
        images, wanted = {"standin"}, set()
        for edge in edges:
            origin = edge["origin"]
            if origin["kind"] == "image":
                # A platform that the stage names follows.
                images.add(origin["name"].partition("::")[0])
            if edge["kind"] in ("copy", "mount"):
                for source in edge.get("sources", []):
                    if origin["kind"] == "context":
                        self.make(source)
                    elif source.strip("/"):
                        wanted.add(source.strip("/"))
        self.options += [f"--build-context={image}=oci-layout://{self.base}:latest" for image in sorted(images) if image]
        (self.scratch / "options").write_text("\n".join(map(shlex.quote, self.options)) + "\n")
        stand_in(self.base, self.label, self.words, wanted)
        self.age()
        self.give_away()

    def facts(self, what):
        """What the program says of the Dockerfile. Should it be wrong, the builds differ, or both fail."""
        command = [os.environ["STAGEDIVE"], what]
        if what == "graph":
            command += ["--json", *self.options, "-f", str(self.scratch / "Dockerfile"), str(self.context)]
        else:
            command.append(str(self.scratch / "Dockerfile"))
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
        try:
            facts = json.loads(done.stdout)
        except ValueError:
            facts = {}
        if what == "ast":
            self.words, given = set(), []
            for it in facts.get("instructions", []):
                arguments = it.get("args") or []
                if it["cmd"] in ("run", "shell") and arguments:
                    self.words.add(("program", arguments[0]))
                if it["cmd"] == "user" and arguments:
                    self.words.add(("user", arguments[0]))
                self.words |= {("user", flag[8:]) for flag in it.get("flags") or [] if flag.startswith("--chown=")}
                if it["cmd"] == "arg" and it["stage"] == -1:
                    given += [name for name in arguments if "=" not in name]
            facts["arguments_without_value"] = given
        return facts

    def make(self, source):
        """A file or a directory for what COPY names."""
        path = plain(source)
        if not path or "://" in source:
            (self.context / "file").write_text("a file\n")
            return
        try:
            target = self.context / path
            name = target.name
            if source.endswith("/") or ("." not in name[1:] and name.split(".")[0] not in FILES):
                target.mkdir(parents=True, exist_ok=True)
                (target / "file").write_text(f"in {path}\n")
            elif not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(f"the file {path}\n")
                target.chmod(0o755 if name.endswith(".sh") else 0o644)
        except OSError:
            pass  # One path in the way of another: then both fail.

    def compared(self, engine, name, ours, docker):
        if docker[0] is None and LACKING.search(docker[1]):
            return ["not in this Docker: " + cases.short(docker[1])]
        if ours[0] is None and docker[0] is None:
            return ["both fail: " + cases.short(docker[1])]
        return super().compared(engine, name, ours, docker)


def plain(source):
    """A path that a wildcard matches."""
    path = re.sub(r"\[\^?(.)[^\]]*\]", r"\1", source.replace("*", "x").replace("?", "x").replace("\\", ""))
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return "/".join(parts)


def stand_in(into, name, words, wanted):
    """An image for every base of a Dockerfile."""
    out = io.BytesIO()
    users = {"user"}
    programs = {f"bin/{program}" for program in PROGRAMS}
    for kind, word in words:
        if kind == "user":
            users |= set(re.findall(r"[a-z_][a-z0-9_-]*", word))
        elif re.fullmatch(r"/?[A-Za-z0-9_./+-]+", word) and ".." not in word:
            programs.add(word.strip("/") if word.startswith("/") else f"bin/{word.split('/')[-1]}")
    files = {
        "recorded": (0o666, ""),
        "etc/passwd": (0o644, "root:x:0:0:root:/root:/bin/sh\n" + "".join(
            f"{user}:x:{1000 + number}:{1000 + number}::/home/{user}:/bin/sh\n"
            for number, user in enumerate(sorted(users - {"root"})))),
        "etc/group": (0o644, "root:x:0:\n" + "".join(
            f"{user}:x:{1000 + number}:\n" for number, user in enumerate(sorted(users - {"root"})))),
    }
    links = {path: "/bin/recorder" for path in sorted(programs | {"usr/bin/env", "usr/bin/bash"})}
    for path in map(plain, wanted):
        leaf = path.rsplit("/", 1)[-1]
        if path and path not in links and path not in files:
            files[path if "." in leaf[1:] or "/bin/" in f"/{path}" else f"{path}/file"] = (0o755, f"in the base: {path}\n")
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        made = set()

        def add(path, kind, mode, data=b"", link=""):
            for parent in reversed(pathlib.PurePosixPath(path).parents[:-1]):
                directory(str(parent))
            if path in made:
                return
            made.add(path)
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode, entry.size, entry.linkname, entry.mtime = kind, mode, len(data), link, base.TIME
            tar.addfile(entry, io.BytesIO(data))

        def directory(path):
            if path not in made:
                add(path, tarfile.DIRTYPE, 0o1777 if path == "tmp" else 0o755)

        for path in base.DIRECTORIES:
            directory(path)
        add("bin/recorder", tarfile.REGTYPE, 0o755, pathlib.Path(os.environ["RECORDER"]).read_bytes())
        for path, target in links.items():
            add(path, tarfile.SYMTYPE, 0o777, link=target)
        for path, (mode, text) in sorted(files.items()):
            add(path, tarfile.REGTYPE, mode, text.encode())
    base.write(into, name, (out.getvalue(), gzip.compress(out.getvalue(), 1, mtime=0)))


def dockerfiles(path):
    """The files as (name, content), from a directory or a tar."""
    if path.is_dir():
        for file in sorted(it for it in path.rglob("*") if it.is_file()):
            yield str(file.relative_to(path)), file.read_bytes()
    else:
        with tarfile.open(path) as tar:
            for entry in sorted((it for it in tar if it.isfile()), key=lambda it: it.name):
                yield entry.name, tar.extractfile(entry).read()


def share(count):
    built = count["same"] + count["differs"]
    return (f"{count['same']} of {built} Dockerfiles build the same ({100 * count['same'] / max(built, 1):.1f} %); "
            f"of {count.total()}, {count['fails in both']} fail in both and {count['cannot be asked']} need a newer Docker")


def main(scratch):
    chosen = list(dockerfiles(pathlib.Path(os.environ["CORPUS"])))
    # In any order, so that what a run that is cut short has seen is a fair sample.
    random.Random(os.environ.get("SEED", "0")).shuffle(chosen)
    chosen = chosen[:: int(os.environ.get("EVERY", "1"))]
    count = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS", (os.cpu_count() or 2) + 1))) as pool:
        real = [Real(f"{number}-{name}", text, scratch) for number, (name, text) in enumerate(chosen)]
        for case, lines in zip(real, pool.map(Real.differences, real)):
            kind = next((kind for kind, sign in SIGNS.items() if lines and all(sign in line for line in lines)),
                        "differs" if lines else "same")
            count[kind] += 1
            if kind == "differs":
                print(f"DIFFERS  {case.label}")
                print("".join(f"    {line}\n" for line in lines[:12]), end="", flush=True)
            elif kind != "same" and os.environ.get("SHOW"):
                print(f"{kind}  {case.label}: {lines[0]}", flush=True)
            if not os.environ.get("KEEP"):
                shutil.rmtree(case.scratch, ignore_errors=True)
            if count.total() % 100 == 0:
                print(f"so far: {share(count)}", flush=True)
    print(f"\n{share(count)}")
    return count["differs"] == 0 and count["same"] > 0


if __name__ == "__main__":
    sys.exit(0 if main(pathlib.Path(sys.argv[1])) else 1)
