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


def replaced(text, chance, what, by):
    """With some of what is there replaced, or put between two lines if it is not there."""
    places = [it.start() for it in re.finditer(re.escape(what), text)] or [0]
    for at in sorted(chance.sample(places, min(len(places), chance.randrange(1, 4))), reverse=True):
        text = text[:at] + chance.choice(by).encode() + text[at + len(what):]
    return text


def carriage_return_alone(text, chance):
    return replaced(text, chance, b"\n", ["\r", "\r\r\n", "\n\r", " \r\n", "\\\r\n", "\\\r"])


def spaces(text, chance):
    return replaced(text, chance, b" ", ["\u00a0", "\u2003", "\u3000", "\u0085", "\u200b", "\ufeff", "\u2028", "\x0b", "\x0c", "\t",
                                        "\x1c", "\0", "  ", ""])


def lines_put_in(text, chance, lines):
    old = text.split(b"\n")
    for _ in range(chance.randrange(1, 3)):
        old.insert(chance.choice([0, 1, 2, chance.randrange(len(old) + 1)]), chance.choice(lines).encode())
    return b"\n".join(old)


def directive(text, chance):
    return lines_put_in(text, chance, [
        "# escape=`", "#escape=\\", "# escape = `", "# ESCAPE=`", "# escape=x", "# escape=", "# escape=``", "  # escape=`", "#\tescape=`",
        "# check=skip=all", "# check=error=true", "# check=skip=JSONArgsRecommended,StageNameCasing;error=true", "# check=",
        "# check=skip=", "# check=error=maybe", "# check=skip=all;skip=none", "# check=nothing", "# Check=skip=all", "# check=SKIP=all",
        "# check = skip=all ; error=true", "# check=skip=FromAsCasing, MaintainerDeprecated", "# check=experimental=all",
        "# check=skip=all;experimental=InvalidDefinitionDescription", "# unknown=1", "# a comment", "#", "", " ", "#!/usr/bin/env docker",
        "// escape=`", "# escape=`\n# escape=`", "# check=skip=all\n# check=skip=all", "#check=error=false", "# escape=`  ", "# escape=\\ #x"])


def heredoc(text, chance):
    return lines_put_in(text, chance, [
        "RUN <<EOF", "RUN <<EOF\necho a\nEOF", "RUN <<-EOF\n\techo a\n\tEOF", "RUN <<'EOF' cat\n$a\nEOF", 'RUN <<"EOF"\nEOF', "RUN <<E\"O\"F\nEOF",
        "RUN <<EOF <<FOO\n1\nEOF\n2\nFOO", "RUN 3<<EOF cat\nx\nEOF", "RUN cat <<EOF && \\\necho more\nx\nEOF", "RUN cat <<<word", "RUN cat << EOF\nx\nEOF",
        "COPY <<a <<b /x/\na\nb\nb\na\na\nb", "COPY <<EOF /x\n$x ${y:-z}\nEOF", "COPY <<'EOF' file /x\nx\nEOF", "COPY <<EOF\nEOF", "ADD <<-EOF /x\n\tx\nEOF",
        "ADD <<a/b /x\na/b", "COPY <<EOF /x\nunfinished", "ENV A=<<EOF\nEOF", "FROM <<EOF\nEOF", "CMD <<EOF\nx\nEOF", "ENTRYPOINT <<EOF\nx\nEOF", "SHELL <<EOF\nEOF",
        "HEALTHCHECK CMD <<EOF\nx\nEOF", "ONBUILD RUN <<EOF\nx\nEOF", "ONBUILD COPY <<EOF /x\nx\nEOF", "LABEL a=<<EOF b=c\nEOF", "RUN [\"a\", <<EOF]\nEOF",
        "RUN <<EOF\n  EOF\n\tEOF\nEOF ", "RUN <<EOF\r\nx\r\nEOF\r", "RUN <<EOF # comment\nx\nEOF", "RUN echo '<<EOF'\nRUN echo \"<<EOF\"", "RUN \\\n<<EOF\nx\nEOF",
        "RUN --mount=type=cache,target=/x <<EOF\nx\nEOF", "COPY --chmod=755 <<EOF /x\nx\nEOF", "WORKDIR <<EOF\nEOF", "RUN ((1<<2))", "RUN x=$((1 <<a))\na",
        "COPY <<$x /y\n$x", "COPY <<\"a b\" /y\na b", "RUN <<a.b\na.b", "RUN <<\\EOF\nEOF", "RUN <<EOF\n\\\nEOF\n# no comment\n\nEOF"])


def onbuild(text, chance):
    lines = text.split(b"\n")
    at = chance.randrange(len(lines))
    lines[at] = chance.choice(["ONBUILD ", "onbuild ", "ONBUILD ONBUILD ", "ONBUILD  FROM a ", "ONBUILD MAINTAINER ", "ONBUILD\t", "ONBUILD",
                               "ONBUILD \\\n", "ONBUILD --x=y ", "ONBUILD ARG ", "ONBUILD #", "ONBUILD nothing "]).encode() + lines[at]
    return b"\n".join(lines)


def flags(text, chance):
    found = list(re.finditer(rb"(?im)^\s*(from|run|copy|add|healthcheck|arg|env|user|label|workdir|cmd|expose|volume)\b", text))
    for it in sorted(chance.sample(found, min(len(found), 2)), key=lambda it: -it.start()):
        flag = chance.choice([
            "--", "---", "--from", "--from=", "--FROM=a", "--from=0 --from=1", "--from=$x", "--from=nowhere", "--chown=", "--chown", "--chown=a:b:c", "--chmod=999", "--chmod=u=rwX,go=rX",
            "--chmod=", "--link=maybe", "--link", "--link=false", "--link --link", "--parents", "--exclude=a --exclude=b", "--exclude", "--mount=type=", "--mount=", "--mount",
            "--mount=type=bind", "--mount=type=cache", "--mount=type=cache,target=/x,sharing=none", "--mount=type=tmpfs,target=/x,size=1x", "--mount=target=/x,ro=maybe",
            "--mount=type=secret,id=", "--mount=type=secret", "--mount=type=nothing,target=/x", "--mount=type=bind,target=/x,from=$x", "--mount=type=bind,target=/x,a=b",
            "--mount=type=cache,target=/x,mode=9", "--mount=type=cache,target=/x,uid=-1", "--mount=type=ssh,required", "--mount=type=bind,target=\"/x,y\"", "--mount=TYPE=bind,target=/x",
            "--network=foo", "--network=none", "--network", "--security=none", "--security=sandbox", "--platform=", "--platform=linux", "--platform=a/b/c/d", "--platform=$nothing",
            "--platform=$BUILDPLATFORM", "--platform=$TARGETPLATFORM", "--platform=linux/amd64", "--interval=1", "--interval=1s", "--interval=-1s", "--timeout=0.0001s", "--retries=-1", "--retries=x", "--start-period=1h1",
            "--start-interval=2s", "--checksum=sha256:00", "--keep-git-dir=true", "--unpack=yes", "--unpack", "--nothing", "--nothing=1", "\\\n  --link", "--link\\\n", "--chown=a\\ b", "--chown='a b'",
            "-x", "--link=\"true\"", "--keep-git-dir=", "--LINK", "--from=a=b", "--chmod=$x", "--chown=$x:$y"])
        text = text[: it.end()] + b" " + flag.encode() + text[it.end():]
    return text


def json_spoiled(text, chance):
    found = list(re.finditer(rb"\[[^\]\n]*\]", text))
    if not found:
        return lines_put_in(text, chance, ["CMD [", "CMD []", "CMD [ ]", "CMD [\"a\"", "CMD [\"a\",]", "CMD ['a']", "CMD [\"a\"] b", "CMD [1]", "CMD [\"a\", null]", "CMD [\"a\", [\"b\"]]",
                                           "CMD [\"\\x41\"]", "CMD [\"\\u00e9\", \"\\ud800\"]", "CMD [\"a\"]#", "CMD {\"a\": 1}", "CMD \"a\"", "SHELL [\"a\" \"b\"]", "SHELL []", "SHELL a",
                                           "VOLUME [\"\"]", "VOLUME []", "VOLUME [ \"/a\" , \"/b\" ]", "COPY [\"a\"]", "COPY [\"a\", \"b c\"", "ENTRYPOINT [\"a\\\n\", \"b\"]",
                                           "ENTRYPOINT [\"a\", \\\n # x\n \"b\"]", "RUN [\"\"]", "RUN []", "RUN [ -f x ]", "HEALTHCHECK CMD [\"a\"", "HEALTHCHECK CMD []", "ONBUILD CMD [\"a\",]",
                                           "CMD [\"a\\tb\"]", "CMD [\"a\tb\"]", "CMD [\"a\"]\x0b", "CMD\u00a0[\"a\"]", "CMD [\"a\",\u00a0\"b\"]", "CMD [\"\x7f\", \"\x01\"]"])
    it = chance.choice(found)
    here = it[0]
    at = chance.randrange(len(here) + 1)
    here = here[:at] + chance.choice([b"", b"'", b'"', b",", b"\\", b"]", b"[", b" ", b"\\\n", b"1", b"\xff", b"\t", b"\\u00", b"#", b"{", b"null"]) + here[at + chance.randrange(2):]
    return text[: it.start()] + here + text[it.end():]


def casing(text, chance):
    found = list(re.finditer(rb"(?m)^[ \t]*[A-Za-z]+|(?i:\bas\b)[ \t]+\S+", text))
    for it in chance.sample(found, min(len(found), 3)):
        change = chance.choice([bytes.lower, bytes.upper, bytes.swapcase, bytes.title])
        text = text[: it.start()] + change(it[0]) + text[it.end():]
    return text


def instruction(text, chance):
    return lines_put_in(text, chance, [
        "FROM", "FROM a b", "FROM a AS", "FROM a AS b c", "FROM a as 1", "FROM a AS scratch", "FROM a AS context", "FROM scratch AS B", "FROM $nothing", "FROM ${x:-a}", "FROM a@b", "FROM A", "FROM a:",
        "MAINTAINER", "MAINTAINER a b", "ENV", "ENV a", "ENV a b c", "ENV a=b c", "ENV =b", "ENV a= b=", "ENV a=\"b", "ENV a=${b", "ENV a=${b:?c}", "ENV a $b", "ENV 'a b'=c", "LABEL", "LABEL a", "LABEL a b", "LABEL =",
        "ARG", "ARG a=b c=d", "ARG a b", "ARG =", "ARG a=b=c", "ARG 'a'=b", "ARG PASSWORD", "ENV API_KEY=1", "ARG token=x", "ENV PATH=$x", "EXPOSE", "EXPOSE a", "EXPOSE 80/TCP", "EXPOSE 80/tcp 90/xyz", "EXPOSE 1-2-3",
        "EXPOSE 127.0.0.1:80:80", "EXPOSE 70000", "EXPOSE 5-1", "EXPOSE $x", "USER", "USER a b", "USER $nothing", "WORKDIR", "WORKDIR a", "WORKDIR a b", "WORKDIR c:\\a", "WORKDIR $nothing", "VOLUME", "VOLUME  ", "STOPSIGNAL",
        "STOPSIGNAL a b", "STOPSIGNAL nothing", "STOPSIGNAL 99", "STOPSIGNAL $x", "HEALTHCHECK", "HEALTHCHECK NONE a", "HEALTHCHECK none", "HEALTHCHECK a b", "HEALTHCHECK CMD", "HEALTHCHECK --interval=1s NONE", "SHELL",
        "RUN", "RUN \\", "CMD", "ENTRYPOINT", "COPY", "COPY a", "COPY a b c", "ADD http://x/y", "ADD http://x/y /z", "ADD https://github.com/a/b.git /z", "COPY --from=nowhere a b", "COPY $x $y", "NOTHING a", "FRM a", "RUM a",
        "ADD a.tar.gz b", "COPY Dockerfile /", "CMD a\nCMD b", "ENTRYPOINT a\nENTRYPOINT b", "HEALTHCHECK NONE\nHEALTHCHECK NONE", "RUN sudo a", "RUN cd /x", "EXPOSE 80\\\n\n 90", "RUN a \\\n# b\n\n c", "RUN a \\ \n b",
        "ENV a=b \\\n # x\n c=d", "FROM --platform=linux/amd64 a AS x", "FROM a AS x\nFROM b AS x", "FROM reserved AS reserved", "COPY --link . $HOME", "LABEL maintainer=x", "LABEL a=\\\nb", "RUN echo $nothing ${nothing}",
        "COPY $nothing /x", "WORKDIR ${nothing:-x}", "ENV a=$a", "ENV a=$b b=$a", "RUN ['a']", "STOPSIGNAL 9 ", "USER ''", "ARG a='b c' d"])


def long_line(text, chance):
    return lines_put_in(text, chance, [kind + "x" * length for kind in ["RUN ", "# ", "ENV a=", "", "RUN a \\\n  ", "RUN <<EOF\n"]
                                       for length in [65520, 65535, 65536, 65540, 70000]])


CHANGES = [untouched, carriage_returns, byte_order_mark, cut_off, line_dropped, line_twice, lines_swapped, noise, noise,
           carriage_return_alone, spaces, directive, heredoc, onbuild, flags, json_spoiled, casing, instruction, instruction,
           long_line]


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
    # What `# check=error=true` says of findings is no fault of another kind.
    if error and error["message"].startswith("lint violation"):
        error = None
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
    seed = os.environ.get("SEED", "0")
    files = list(corpus.dockerfiles(pathlib.Path(os.environ["CORPUS"])))
    random.Random(seed).shuffle(files)
    files = files[:: int(os.environ.get("EVERY", "1"))]
    jobs = []
    for number, (name, text) in enumerate(files):
        chance = random.Random(f"{seed} {name}")
        changes = [it for it in CHANGES if it.__name__ in os.environ.get("KINDS", it.__name__).split(",")]
        change = changes[(number + int(seed)) % len(changes)] if text.strip() else untouched
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
