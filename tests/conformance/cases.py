"""Runs the cases: cases.py SCRATCH [AREA[/CASE]…]. `run` prepares what this needs."""

import base64
import collections
import concurrent.futures
import itertools
import json
import os
import pathlib
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import sys
import time

import base
import compare
import excuses
import image

HERE = pathlib.Path(__file__).resolve().parent
# The context's files are this old, unless `setup` says something else.
TIME = 1_700_000_000
START = int(time.time()) - 1
# The program three times: the second time as an ordinary user with subordinate ids, the third on the Docker Engine.
OURS = [name for name in ["here", "rootless", "through"]
        if name in os.environ.get("OURS", "here rootless through").split()]
ENGINES = OURS + ["Docker"]
COLUMNS = {"rootless": "as an ordinary user", "through": "through the Docker Engine"}
PREFIXES = {"here": "", "rootless": "rootless: ", "through": "through Docker: "}
# Seconds for one build. A busy machine is slow; nothing here takes longer than this on one that is not stuck.
PATIENCE = 240
# How often Docker's side is tried when it gave no answer to compare with: it has no case wrong for being busy.
TRIES = 3


class Case:
    def __init__(self, directory, scratch, attempt="first"):
        self.directory = directory
        self.name = f"{directory.parent.name}/{directory.name}"
        self.attempt = attempt
        self.salt = f"{self.name} {attempt}"
        self.scratch = scratch / f"cases-{attempt}" / self.name
        self.base = self.scratch / "base"
        # Another image of the same files, so that nothing on it is in the cache when the program asks Docker for it.
        self.second_base = self.scratch / "second-base"
        # BuildKit takes contexts of one name for one context, and a file of the same size and time for the same file.
        self.context = self.scratch / f"context-{self.name.replace('/', '-')}"
        self.environment = dict(os.environ, CASE=str(self.scratch), CONTEXT=str(self.context), BASE=str(self.base),
                                SERVERS=str(self.scratch / "servers"))
        for name in ["SOURCE_DATE_EPOCH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy",
                     "no_proxy"]:
            self.environment.pop(name, None)

    def has(self, name):
        return (self.scratch / name).is_file()

    def prepare(self):
        self.scratch.mkdir(parents=True)
        # A base of its own, as BuildKit does the same step of two builds only once, even if neither may use its cache.
        base.write(self.base, self.salt)
        if "through" in OURS:
            base.write(self.second_base, self.salt, base.another_layer(self.salt))
        for part in self.directory.iterdir():
            if part.name != "context" and part.is_file():
                shutil.copy(part, self.scratch)
        if (self.directory / "context").is_dir():
            shutil.copytree(self.directory / "context", self.context, symlinks=True)
        else:
            self.context.mkdir()
        for root, directories, files in os.walk(self.context):
            for name in directories:
                os.chmod(os.path.join(root, name), 0o755)
            for name in files:
                path = os.path.join(root, name)
                if not os.path.islink(path):
                    os.chmod(path, 0o755 if os.stat(path).st_mode & 0o100 else 0o644)
        os.chmod(self.context, 0o755)
        self.age()
        if self.has("setup"):
            self.script("setup")
        self.give_away()

    def give_away(self):
        """Lets the user read the context and the files beside it. A context's owners do not count in any build."""
        account = pwd.getpwnam(os.environ["ROOTLESS"])
        paths = [self.scratch, *(path for path in self.scratch.iterdir() if not path.is_dir()), self.context]
        for root, directories, files in os.walk(self.context):
            paths += [os.path.join(root, name) for name in directories + files]
        for path in paths:
            mode = os.lstat(path).st_mode
            os.lchown(path, account.pw_uid, account.pw_gid)
            # Which takes the set-id bits away.
            if mode & 0o7000 and not stat.S_ISLNK(mode):
                os.chmod(path, stat.S_IMODE(mode))

    def age(self):
        for root, directories, files in os.walk(self.context):
            for name in directories + files + ["."]:
                os.utime(os.path.join(root, name), (TIME, TIME), follow_symlinks=False)

    def script(self, name, **more):
        done = subprocess.run(["bash", "-euo", "pipefail", str(self.scratch / name)], cwd=self.context, text=True,
                              env=dict(self.environment, **more), capture_output=True)
        if done.returncode:
            raise RuntimeError(f"{name} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def build(self, engine, round_name):
        """One build: (archive or None, what it printed, {step: cached})."""
        out = self.scratch / "out" / engine
        out.mkdir(parents=True, exist_ok=True)
        if engine == "rootless":
            shutil.chown(out, os.environ["ROOTLESS"])
        archive = out / f"{round_name}.tar"
        environment = dict(self.environment, OUT=str(out), ROUND=round_name)
        options = round_name + "-options" if self.has(round_name + "-options") else "options"
        words, source = [], str(self.context)
        if self.has(options):
            for line in (self.scratch / options).read_text().splitlines():
                line = re.sub(r"\$(\w+)", lambda it: environment.get(it[1], ""), line)
                name, _, value = line.partition("=")
                if name.startswith("ENVIRONMENT:"):
                    environment[name.partition(":")[2]] = value
                elif line.startswith("Docker: "):
                    words += self.docker_words(engine, shlex.split(line)[1:])
                else:
                    words += shlex.split(line)
        if "-o" not in words:
            kind = (self.scratch / "output").read_text().strip() if self.has("output") else "type=oci"
            words += ["-o", f"{kind},dest={archive}"]
        if self.has("Dockerfile") and "-f" not in words:
            words += ["-f", str(self.scratch / "Dockerfile")]
        layout = self.second_base if engine == "through" else self.base
        words += ["--build-context", f"base=oci-layout://{layout}:latest", source]
        if engine in OURS:
            environment["STAGEDIVE_ROOT"] = str(self.scratch / f"store-{engine}")
            command = [os.environ["STAGEDIVE"], "build", "--progress=json"]
            if engine == "through":
                command += ["--engine", "docker"]
            if engine == "rootless":
                user = os.environ["ROOTLESS"]
                command = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--inh-caps=-all", *command]
        else:
            command = ["docker-buildx", "build", "--progress=rawjson", "--provenance=false"]
            if not self.has("again"):
                # Another case's files may be the same but for their times, which are no part of the key.
                command.append("--no-cache")
        done = self.run(engine, command + words, environment)
        out.joinpath(f"{round_name}.stdout").write_bytes(done.stdout)
        out.joinpath(f"{round_name}.stderr").write_bytes(done.stderr)
        read = our_steps if engine in OURS else their_steps
        steps, said = read(done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
        return (archive if done.returncode == 0 else None), said, steps

    def docker_words(self, engine, words):
        """Options that are for Docker alone; its front end reads what the program builds through it."""
        if engine == "through" and "-f" in words:
            return words[words.index("-f"):][:2]
        return words if engine == "Docker" else []

    def run(self, engine, command, environment):
        """The build itself. What fails in Docker without having been meant to is tried again, a few times."""
        fresh = not self.has("again")
        for number in itertools.count(1):
            last = engine in ("here", "rootless") or number == TRIES
            options = self.own_caches(engine, number if fresh else 1)
            try:
                done = subprocess.run(command + options, cwd=self.scratch, env=environment, stdin=subprocess.DEVNULL,
                                      capture_output=True, timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                if last:
                    raise
                continue
            if last or done.returncode == 0 or self.has("expect") or not fresh:
                return done

    def own_caches(self, engine, number):
        """Options that keep the caches of RUN from whoever else builds the case there, and from what a try that failed has
        left in them."""
        if engine in ("here", "rootless"):
            return []
        return ["--build-arg", f"BUILDKIT_CACHE_MOUNT_NS={engine}-{self.attempt}-{number}"]

    def stop_servers(self):
        try:
            pids = (self.scratch / "servers").read_text().split()
        except FileNotFoundError:
            return
        for pid in pids:
            try:
                # Each leads a group of its own: git's daemon is a child of git.
                os.killpg(int(pid), 9)
            except ProcessLookupError:
                pass

    def differences(self):
        try:
            self.prepare()
            out = self.round("first")
            if self.has("again"):
                self.script("again")
                self.give_away()
                out += self.round("again")
            return out if self.has("expect") else out + self.inspected()
        except Exception as error:  # whatever it is, the other cases still count
            return [f"the case itself: {type(error).__name__}: {error}"]
        finally:
            self.stop_servers()

    def inspected(self):
        if not self.has("inspect"):
            return []
        printed = {}
        for engine in ENGINES:
            try:
                printed[engine] = self.script("inspect", OUT=str(self.scratch / "out" / engine)).splitlines()
            except RuntimeError as error:
                printed[engine] = [short(str(error))]
        return [f"{prefix(ours)}inspect, line {number}: {here!r} here, {there!r} in Docker"
                for ours in OURS
                for number, (here, there) in enumerate(itertools.zip_longest(printed[ours], printed["Docker"]), 1)
                if here != there]

    def round(self, name):
        docker = self.build("Docker", name)
        again = "" if name == "first" else f"{name}: "
        # What went through the engine is not last: until the engine has let go of a build, it answers the next from it.
        return [prefix(ours) + again + line
                for ours in sorted(OURS, key=lambda name: name != "through") for line in self.compared(ours, name, self.build(ours, name), docker)]

    def compared(self, engine, name, ours, docker):
        (ours, our_words, our_steps), (theirs, their_words, their_steps) = ours, docker
        if ours is None and theirs is None:
            wanted = (self.scratch / "expect").read_text().splitlines() if self.has("expect") else []
            if not wanted:
                return [f"both fail, and the case has no `expect`. Here: {short(our_words)} Docker: {short(their_words)}"]
            # What Docker asks for in other words, it says in other words through this program too.
            wanted = [word for word in wanted if engine != "through" or word in their_words]
            return [f"the message lacks {word!r}: {short(our_words)}" for word in wanted if word not in our_words]
        if theirs is None:
            return [f"Docker fails, and this does not: {short(their_words)}"]
        if ours is None:
            return [f"fails here only: {short(our_words)}"]
        out = []
        if self.has("expect"):
            out.append("`expect` is for cases that fail, and this one does not")
        if name != "first":
            out += [f"{step!r}: {word(our_steps.get(step))} here, {word(their_steps.get(step))} in Docker"
                    for step in sorted(set(our_steps) | set(their_steps))
                    if our_steps.get(step) != their_steps.get(step)]
        if ours.is_file() and theirs.is_file():
            out += compare.differences(image.read(ours), image.read(theirs), START)
        elif ours.is_file() or theirs.is_file():
            out.append(f"an archive is written only {'here' if ours.is_file() else 'by Docker'}")
        return out


def prefix(ours):
    return PREFIXES[ours]


def engine_of(line):
    """Whose difference a line tells of."""
    return next((name for name, start in PREFIXES.items() if start and line.startswith(start)), "here")


def word(cached):
    return {True: "cached", False: "run", None: "not there"}[cached]


def short(text):
    text = " / ".join(line.strip() for line in text.splitlines() if line.strip())
    return text if len(text) < 700 else "… " + text[-700:]


STEP = re.compile(r"^(RUN|COPY|ADD|WORKDIR)\b")


def our_steps(stdout, stderr):
    steps = {}
    for line in stdout.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        text = (event.get("step") or {}).get("text", "")
        if event.get("result") and STEP.match(text):
            steps[" ".join(text.split())] = event["result"]["cached"]
    return steps, stderr


def their_steps(stdout, stderr):
    steps, said, logs = {}, [], collections.defaultdict(bytes)
    for line in stderr.splitlines():
        try:
            status = json.loads(line)
        except ValueError:
            said.append(line)
            continue
        for vertex in status.get("vertexes") or []:
            name = re.sub(r"^\[[^\]]*\] ", "", vertex["name"])
            if vertex.get("error"):
                said.append(vertex["error"])
            if STEP.match(name) and vertex.get("completed"):
                steps[" ".join(name.split())] = vertex.get("cached", False) or steps.get(name, False)
        for log in status.get("logs") or []:
            logs[log["vertex"]] += base64.b64decode(log.get("data") or "")
    return steps, "\n".join(said) + "\n" + b"".join(logs.values()).decode(errors="replace")


def can_be_checked(case):
    """Whether this machine has what the case needs; else it says why not."""
    needs = (case / "needs").read_text().split() if (case / "needs").is_file() else []
    for name in needs:
        if name not in os.environ:
            reason = os.environ.get(f"NO_{name}", f"{name} is not set")
            print(f"NOT CHECKED  {case.parent.name}/{case.name}: {reason}", flush=True)
    return all(name in os.environ for name in needs)


def main(scratch, wanted):
    every = sorted(path for path in HERE.glob("*/*") if path.is_dir() and path.parent.name != "tools")
    chosen = [path for path in every
              if not wanted or f"{path.parent.name}/{path.name}" in wanted or path.parent.name in wanted]
    chosen = [path for path in chosen if can_be_checked(path)]
    meant = excuses.read(HERE / "on-purpose.md")
    unknown = sorted(set(meant) - {f"{path.parent.name}/{path.name}" for path in every})
    failed, second = len(unknown), 0
    for name in unknown:
        print(f"on-purpose.md has {name}, which is no case")
    areas = collections.OrderedDict()
    left_of = lambda case, lines: excuses.left(lines, meant.get(case.name, []), {"here", "rootless"} <= set(OURS))
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS", (os.cpu_count() or 2) + 1))) as pool:
        cases = [Case(path, scratch) for path in chosen]
        for case, lines in zip(cases, pool.map(Case.differences, cases)):
            if once := left_of(case, lines):
                # A daemon that many ask at once may answer one of them with another's build. It is asked again, and that
                # is said.
                lines = Case(case.directory, scratch, "second").differences()
                if not left_of(case, lines):
                    second += 1
                    print(f"DIFFERED ONCE  {case.name}")
                    print("".join(f"    {line}\n" for line in once[:20]), end="", flush=True)
            equal = areas.setdefault(case.directory.parent.name, collections.Counter())
            differ = {engine_of(line) for line in lines}
            equal.update({"cases": 1, **{name: int(name not in differ) for name in OURS}})
            left = left_of(case, lines)
            failed += bool(left)
            if left:
                print(f"DIFFERS  {case.name}")
                print("".join(f"    {line}\n" for line in left[:200]), end="", flush=True)
                print("".join(f"    at first: {line}\n" for line in once[:20] if line not in left), end="", flush=True)
            elif lines:
                print(f"differs on purpose  {case.name}: {len(lines)} difference{'s' * (len(lines) > 1)}", flush=True)
            if not os.environ.get("KEEP"):
                shutil.rmtree(case.scratch, ignore_errors=True)
    print()
    for area, equal in [*areas.items(), ("all", sum(areas.values(), collections.Counter()))]:
        first, *others = OURS
        others = [f"{equal[name]} {COLUMNS[name]}" for name in others]
        print(", ".join([f"{area}: {equal[first]} of {equal['cases']} cases equal", *others]))
    if second:
        print(f"{second} of them differed in a first run, and not in a second: see DIFFERED ONCE")
    print(f"{len(cases) - failed} passed, {failed} failed")
    return failed == 0 and bool(cases)


if __name__ == "__main__":
    sys.exit(0 if main(pathlib.Path(sys.argv[1]), sys.argv[2:]) else 1)
