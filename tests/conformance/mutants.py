"""Asks both for their opinion of changed Dockerfiles: mutants.py SCRATCH. `mutants` prepares what this needs."""

import collections
import concurrent.futures
import json
import os
import pathlib
import random
import re
import subprocess
import sys

import base
import corpus

NOISE = ["\\", "\"", "'", "$", "{", "}", "[", "]", "#", "<<EOF", "--", "=", "`", "\t", " ", "\n", "\x0b", "é", "\0", ":",
         "\\\n", "\\ \n", "FROM ", "RUN ", "ONBUILD ", "\r", "--from=0 ", "&&", ","]


def untouched(text, chance):
    return text


def carriage_returns(text, chance):
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def byte_order_mark(text, chance):
    return b"\xef\xbb\xbf" + text


def cut_off(text, chance):
    return text[: chance.randrange(len(text) + 1)]


def line_dropped(text, chance):
    lines = text.splitlines(keepends=True)
    del lines[chance.randrange(len(lines))]
    return b"".join(lines)


def line_twice(text, chance):
    lines = text.splitlines(keepends=True)
    at = chance.randrange(len(lines))
    return b"".join(lines[:at] + [lines[at]] + lines[at:])


def lines_swapped(text, chance):
    lines = text.splitlines(keepends=True)
    a, b = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


def noise(text, chance):
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(text) + 1)
        text = text[:at] + chance.choice(NOISE).encode() + text[at + chance.randrange(2):]
    return text


CHANGES = [untouched, carriage_returns, byte_order_mark, cut_off, line_dropped, line_twice, lines_swapped, noise, noise]


def stand_ins(path, context):
    """Options for the bases: their configurations are read for the checks, whatever they are."""
    done = subprocess.run([os.environ["STAGEDIVE"], "graph", "--json", "-f", path, context], capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=60)
    try:
        origins = [edge["origin"] for edge in json.loads(done.stdout).get("edges", [])]
    except ValueError:
        origins = []
    images = sorted({it["name"] for it in origins if it["kind"] == "image" and it["name"]})
    return [f"--build-context={image}=oci-layout://{os.path.dirname(context)}/base:latest" for image in images]


def docker(path, context, options):
    command = ["docker", "buildx", "build", "--call=check,format=json", *options, "-f", path, context]
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=240)
        said = done.stderr.decode(errors="replace")
        try:
            answer = json.loads(done.stdout)
            break
        except ValueError:
            # Before there is anything to say of a Dockerfile: it is empty, or the engine is busy.
            if "is empty" in said or "no instructions" in said:
                return "rejected", set(), said
    else:
        return None, set(), said
    findings = {(it["ruleName"], line(it)) for it in answer.get("warnings") or []}
    error = answer.get("buildError")
    # A base that cannot be had is no matter of the text, and the front end of this Docker Engine lacks some flags yet.
    if error and re.search(r"failed to (resolve|do request|solve with frontend)|network|dial tcp|unknown flag: --(parents|security|device)",
                          error["message"]):
        return None, set(), error["message"]
    return ("rejected" if error else "accepted", lines(error or {})), findings, (error or {}).get("message", "")


def line(it, end="start"):
    ranges = (it.get("location") or {}).get("ranges") or [{}]
    return (ranges[0 if end == "start" else -1].get(end) or {}).get("line")


def lines(it):
    """Of the instruction that an error is about, first and last; the program names the very one."""
    return line(it), line(it, "end")


def same(here, theirs):
    first, last = theirs[1]
    known = here[1] is not None and first is not None and last is not None
    return here[0] == theirs[0] and (not known or first <= here[1] <= last)


def ours(path, context, options):
    command = [os.environ["STAGEDIVE"], "check", "--json", *options, "-f", path, context]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=60,
                          env=dict(os.environ, STAGEDIVE_ROOT=os.path.dirname(context) + "/store"))
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        return ("no answer", None), set(), (done.stdout + done.stderr).decode(errors="replace")
    findings = {(it["rule"], it["line"]) for it in answer["findings"]}
    error = answer.get("error")
    return ("rejected" if error else "accepted", (error or {}).get("line")), findings, (error or {}).get("message", "")


def disagreements(name, change, text, scratch):
    """Lines, each one disagreement; None if Docker has no opinion."""
    path = scratch / re.sub(r"[^A-Za-z0-9]+", "-", name)[-100:]
    path.write_bytes(text)
    context = str(scratch / "empty")
    try:
        options = stand_ins(path, context)
        theirs, their_findings, their_words = docker(path, context, options)
        here, our_findings, our_words = ours(path, context, options)
    except subprocess.TimeoutExpired as error:
        return [f"no answer: {error}"]
    if theirs is None:
        return None
    if theirs == "rejected":
        return [] if here[0] == "rejected" else [f"{here} here, {their_words.strip()[-200:]} in Docker"]
    out = []
    if not same(here, theirs):
        out.append(f"{here} here, {theirs} in Docker: {our_words!r} here, {their_words[-300:]!r} in Docker")
    out += [f"{rule} at line {at} only here" for rule, at in sorted(our_findings - their_findings, key=str)]
    out += [f"{rule} at line {at} only in Docker" for rule, at in sorted(their_findings - our_findings, key=str)]
    return out


def main(scratch):
    (scratch / "empty").mkdir()
    base.write(scratch / "base", "mutants")
    files = list(corpus.dockerfiles(pathlib.Path(os.environ["CORPUS"])))[:: int(os.environ.get("EVERY", "1"))]
    seed = os.environ.get("SEED", "0")
    jobs = []
    for number, (name, text) in enumerate(files):
        chance = random.Random(f"{seed} {name}")
        change = CHANGES[(number + int(seed)) % len(CHANGES)] if text.strip() else untouched
        text = re.sub(rb"(?im)^(\W*)syntax(\s*=)", rb"\1no-syntax\2", change(text, chance))
        jobs.append((f"{number}-{name}", change.__name__, text, scratch))
    count = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS", (os.cpu_count() or 2) + 1))) as pool:
        for (name, change, _, _), lines in zip(jobs, pool.map(lambda job: disagreements(*job), jobs)):
            count["asked"] += lines is not None
            if lines:
                count["disagree"] += 1
                print(f"DISAGREE  {name} ({change})")
                print("".join(f"    {line}\n" for line in lines[:8]), end="", flush=True)
    print(f"\n{count['asked'] - count['disagree']} of {count['asked']} changed Dockerfiles are judged the same; "
          f"Docker has no opinion of {len(jobs) - count['asked']}")
    return count["disagree"] == 0 and count["asked"] > 0


if __name__ == "__main__":
    sys.exit(0 if main(pathlib.Path(sys.argv[1])) else 1)
