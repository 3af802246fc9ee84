//! Wrong Dockerfiles, instruction by instruction: each is refused at the line where Docker Engine 28 refuses it.

use super::{options, planned};
use crate::dockerfile::diagnostic::position;

/// Checks the line and the message of the first error.
#[track_caller]
fn check(dockerfile: &str, line: usize, message: &str) {
    let errors = planned(dockerfile, &options()).map(|_| ()).expect_err(dockerfile);
    let found = (position(dockerfile, errors[0].span.start).line, errors[0].message.as_str());
    assert_eq!(found, (line, message), "\n{dockerfile}");
}

#[test]
fn stages_and_unknown_instructions() {
    check("FROM\n", 1, "FROM takes an image, or an image, AS and a name");
    check("FROM scratch\nFROM a b\n", 2, "FROM takes an image, or an image, AS and a name");
    check("FROM scratch AS\n", 1, "FROM takes an image, or an image, AS and a name");
    check("FROM scratch AS a b\n", 1, "FROM takes an image, or an image, AS and a name");
    check("FROM scratch AS 1a\n", 1, "\"1a\" cannot name a stage");
    check("FROM scratch AS A/B\n", 1, "\"A/B\" cannot name a stage");
    check("ARG X=y\nFROM scratch AS $X\n", 2, "\"$X\" cannot name a stage");
    check("FROM \"scratch\n", 1, "a double quote has no second one that closes it");
    check("FROM --foo scratch\n", 1, "unknown flag --foo");
    check("FROM --platform scratch\n", 1, "--platform has no value");
    check("FROM --platform=linux/amd64 --platform=linux/amd64 scratch\n", 1, "--platform is given twice");
    check("ARG A\nFROM ${A:?no base}\n", 2, "FROM takes an image, or an image, AS and a name");
    check(
        "ARG A\nFROM ${A!x}\n",
        2,
        "there is no operator \"!\": write ${name}, or one of :- :+ :? - + ? # ## % %% / // after the name",
    );
    check("ARG A\nFROM ${A\n", 2, "a ${ has no } that closes it");
    check("RUN true\n", 1, "RUN stands before the first FROM");
    check("ARG A\nENV B=c\nFROM scratch\n", 2, "ENV stands before the first FROM");
    check("# c\n", 1, "the file has no instructions");
    check("FROM scratch\n\u{feff}ENV A=b\n", 2, "unknown instruction \u{feff}ENV");
    check("FROM scratch\n\u{200b}ENV A=b\n", 2, "unknown instruction \u{200b}ENV");
    check("FROM scratch\nFOO a\n", 2, "unknown instruction FOO");
    check("FROM scratch\nCOYP a b\n", 2, "unknown instruction COYP");
    check("FROM scratch\n\u{1b}[31mRUN a\n", 2, "unknown instruction \u{1b}[31mRUN");
    check("FROM scratch\nINCLUDE a\n", 2, "unknown instruction INCLUDE");
    check("FROM scratch\napt-get update\n", 2, "unknown instruction apt-get");
    check("FROM scratch AS x\nCOPY --from=x a b\n", 2, "stage x reads from itself (circular dependency)");
    check(
        "FROM scratch AS me\nRUN --mount=from=me,target=/x a\n",
        2,
        "stage me reads from itself (circular dependency)",
    );
    check("ARG A=${B:?nothing}\nFROM scratch\n", 1, "B: nothing");
    check("ARG A='b\nFROM scratch\n", 1, "a single quote has no second one that closes it");
    check("FROM scratch\r\nFOO a\r\n", 2, "unknown instruction FOO");
    check("FROM scratch\rENV A=b\r", 1, "FROM takes an image, or an image, AS and a name");
    check("\tFOO a\nFROM scratch\n", 1, "unknown instruction FOO");
    check("FROM scratch AS a\nCOPY --from=A nope /\n", 2, "stage a reads from itself (circular dependency)");
    check("FROM scratch\nFOO\nRUN --network=x y\n", 2, "unknown instruction FOO");
    check("FROM --mount=x scratch\n", 1, "unknown flag --mount");
}

#[test]
fn copies() {
    check("FROM scratch\nCOPY\n", 2, "COPY needs a source and a destination");
    check("FROM scratch\nCOPY a\n", 2, "COPY needs a source and a destination");
    check("FROM scratch\nCOPY [\"a\"]\n", 2, "COPY needs a source and a destination");
    check("FROM scratch\nCOPY []\n", 2, "COPY needs a source and a destination");
    check("FROM scratch\nCOPY [\"a\", 1]\n", 2, "the JSON array holds something that is not a string");
    check("FROM scratch\nCOPY --foo=1 a b\n", 2, "unknown flag --foo");
    check("FROM scratch\nCOPY --form=x a b\n", 2, "unknown flag --form");
    check("FROM scratch\nCOPY --from=0 --from=0 a b\n", 2, "--from is given twice");
    check("FROM scratch\nCOPY --from a b\n", 2, "--from has no value");
    check("FROM scratch\nCOPY --from=0 a b\n", 2, "stage 0 reads from itself (circular dependency)");
    check(
        "FROM scratch\nCOPY --chmod=999 f /\n",
        2,
        "--chmod=999 is neither an octal mode up to 07777 nor one like u=rwX,go=rX",
    );
    check(
        "FROM scratch\nCOPY --chmod=u+q f /\n",
        2,
        "--chmod=u+q is neither an octal mode up to 07777 nor one like u=rwX,go=rX",
    );
    check(
        "FROM scratch\nCOPY --chmod=-1 f /\n",
        2,
        "--chmod=-1 is neither an octal mode up to 07777 nor one like u=rwX,go=rX",
    );
    check(
        "FROM scratch\nCOPY --chmod=77777 f /\n",
        2,
        "--chmod=77777 is neither an octal mode up to 07777 nor one like u=rwX,go=rX",
    );
    check("FROM scratch\nCOPY --link=maybe f /\n", 2, "--link is on or off, and \"maybe\" is neither");
    check("FROM scratch\nCOPY --link --link f /\n", 2, "--link is given twice");
    check("FROM scratch\nCOPY --parents=x f /\n", 2, "--parents is on or off, and \"x\" is neither");
    check("FROM scratch\nCOPY http://a/b /\n", 2, "COPY takes files, and http://a/b is an address");
    check("FROM scratch\nCOPY [a-\n", 2, "COPY needs a source and a destination");
    check("FROM scratch\nCOPY <<EOF /x\nhi\n", 2, "the heredoc EOF is not ended");
    check("FROM scratch\nCOPY f <<EOF\nhi\nEOF\n", 2, "COPY cannot have a heredoc as its destination");
    check(
        "FROM scratch\nCOPY <<a/b /x\nhi\na/b\n",
        2,
        "the heredoc a/b cannot be a file: a name of one part is expected",
    );
    check("FROM scratch\nADD <<. /x\nhi\n.\n", 2, "the heredoc . cannot be a file: a name of one part is expected");
    check("FROM scratch\nCOPY <<'A /x\n1\nA\n", 3, "unknown instruction 1");
    check("FROM scratch\nCOPY --exclude f /\n", 2, "--exclude has no value");
    check("FROM scratch\nADD\n", 2, "ADD needs a source and a destination");
    check("FROM scratch\nADD --checksum=x http://127.0.0.1:9/a /\n", 2, "--checksum=x is not a digest");
    check("FROM scratch\nADD --checksum=md5:00 http://127.0.0.1:9/a /\n", 2, "--checksum=md5:00 is not a digest");
    check("FROM scratch\nADD --keep-git-dir=x f /\n", 2, "--keep-git-dir is on or off, and \"x\" is neither");
    check("FROM scratch\nADD --from=0 f /\n", 2, "unknown flag --from");
    check("FROM scratch\nADD --unpack=x f /\n", 2, "--unpack is on or off, and \"x\" is neither");
    check("FROM scratch\nADD --parents f /\n", 2, "unknown flag --parents");
    check("FROM scratch\nCOPY --unpack f /\n", 2, "unknown flag --unpack");
    check("FROM scratch\nCOPY --checksum=sha256:00 f /\n", 2, "unknown flag --checksum");
    check("FROM scratch\nCOPY f /\nRUN --network=x y\nFOO\n", 3, "--network: \"x\" is not a network mode");
    check("FROM scratch\nCOPY\u{a0}--from=x a b\n", 2, "unknown instruction COPY\u{a0}--from=x");
}

#[test]
fn runs_and_mounts() {
    check("FROM scratch\nRUN --foo a\n", 2, "unknown flag --foo");
    check("FROM scratch\nRUN --network=foo a\n", 2, "--network: \"foo\" is not a network mode");
    check("FROM scratch\nRUN --network= a\n", 2, "--network: \"\" is not a network mode");
    check("FROM scratch\nRUN --network a\n", 2, "--network has no value");
    check("FROM scratch\nRUN --mount=type=foo,target=/x a\n", 2, "--mount type=foo: \"foo\" is not a mount type");
    check("FROM scratch\nRUN --mount=type=cahce,target=/x a\n", 2, "--mount type=cahce: \"cahce\" is not a mount type");
    check("FROM scratch\nRUN --mount=foo=bar a\n", 2, "--mount has no field \"foo\"");
    check("FROM scratch\nRUN --mount=foo a\n", 2, "\"foo\" in --mount has no value");
    check("FROM scratch\nRUN --mount a\n", 2, "--mount has no value");
    check("FROM scratch\nRUN --mount= a\n", 2, "--mount= is not a list of fields separated by commas");
    check("FROM scratch\nRUN --mount=type=cache a\n", 2, "nothing can be mounted over /");
    check("FROM scratch\nRUN --mount=type=bind a\n", 2, "nothing can be mounted over /");
    check("FROM scratch\nRUN --mount=type=tmpfs a\n", 2, "nothing can be mounted over /");
    check("FROM scratch\nRUN --mount=type=tmpfs,target=/x,size=foo a\n", 2, "--mount size=foo: \"foo\" is not a size");
    check("FROM scratch\nRUN --mount=type=tmpfs,target=/x,size=-1 a\n", 2, "--mount size=-1: \"-1\" is not a size");
    check("FROM scratch\nRUN --mount=type=bind,target=/x,size=1 a\n", 2, "a bind mount takes no size");
    check("FROM scratch\nRUN --mount=type=cache,target=/x,mode=9 a\n", 2, "--mount mode=9: \"9\" is not an octal mode");
    check(
        "FROM scratch\nRUN --mount=type=cache,target=/x,uid=root a\n",
        2,
        "--mount uid=root: \"root\" is not a user number",
    );
    check(
        "FROM scratch\nRUN --mount=type=cache,target=/x,gid=-1 a\n",
        2,
        "--mount gid=-1: \"-1\" is not a group number",
    );
    check(
        "FROM scratch\nRUN --mount=type=cache,target=/x,sharing=foo a\n",
        2,
        "--mount sharing=foo: \"foo\" is not a way of sharing",
    );
    check(
        "FROM scratch\nRUN --mount=type=bind,target=/x,sharing=shared a\n",
        2,
        "a bind mount takes no sharing: only a cache does",
    );
    check(
        "FROM scratch\nRUN --mount=type=bind,target=/x,ro=maybe a\n",
        2,
        "--mount ro=maybe: \"maybe\" is not true or false",
    );
    check(
        "FROM scratch\nRUN --mount=type=secret,id=x,required=maybe a\n",
        2,
        "--mount required=maybe: \"maybe\" is not true or false",
    );
    check("FROM scratch\nRUN --mount=type=secret a\n", 2, "a secret mount needs an id or a target");
    check("FROM scratch\nRUN --mount=type=bind,from=$A,target=/x a\n", 2, "variables are not expanded in from=$A");
    check(
        "FROM scratch\nARG A\nRUN --mount=type=cache,id=${A:?need A},target=/x a\n",
        3,
        "a ${ has no } that closes it",
    );
    check("FROM scratch\nRUN --mount=type=cache,target=/ a\n", 2, "nothing can be mounted over /");
    check(
        "FROM scratch\nRUN --mount=type=cache,target=/x,target=/y,id=1,id=2,foo a\n",
        2,
        "\"foo\" in --mount has no value",
    );
    check("FROM scratch\nRUN --mount=type=cache, target=/x a\n", 2, "--mount has an empty field");
    check("FROM scratch\nRUN --mount=TYPE=cache,TARGET=x,FOO=1 a\n", 2, "--mount has no field \"foo\"");
    check("FROM scratch\nRUN --device=a,b a\n", 2, "--device has no field \"b\"");
    check("FROM scratch\nRUN <<EOF\necho\n", 2, "the heredoc EOF is not ended");
    check("FROM scratch\nRUN <<A <<B\n1\nA\n2\n", 2, "the heredoc B is not ended");
    check("FROM scratch\nRUN <<-EOF\n\techo\n EOF\n", 2, "the heredoc EOF is not ended");
    check("FROM scratch\nRUN a \\\n# c\n\n  && b\nFOO\n", 6, "unknown instruction FOO");
    check("FROM scratch\nRUN\u{3000}true\n", 2, "unknown instruction RUN\u{3000}true");
    check("FROM scratch\nRUN --mount=type=cache,target=/x, a\n", 2, "--mount has an empty field");
    check("FROM scratch\nRUN --from=x a\n", 2, "unknown flag --from");
}

#[test]
fn names_and_values() {
    check("FROM scratch\nENV\u{a0}A=b\n", 2, "unknown instruction ENV\u{a0}A=b");
    check("FROM scratch\nENV \\\n", 2, "ENV needs at least one argument");
    check("FROM scratch\nLABEL a=<<EOF\nb\nEOF\n", 3, "unknown instruction b");
    check("FROM scratch\nENV\n", 2, "ENV needs at least one argument");
    check("FROM scratch\nENV A\n", 2, "ENV A has no value");
    check("FROM scratch\nENV =a\n", 2, "ENV needs a name before =");
    check("FROM scratch\nENV A=b C\n", 2, "\"C\" has no = between name and value");
    check("FROM scratch\nENV A=\"b\n", 2, "a double quote has no second one that closes it");
    check("FROM scratch\nENV A='b c\n", 2, "a single quote has no second one that closes it");
    check(
        "FROM scratch\nENV A=${B!c}\n",
        2,
        "there is no operator \"!\": write ${name}, or one of :- :+ :? - + ? # ## % %% / // after the name",
    );
    check("FROM scratch\nENV A=${B:?is needed}\n", 2, "\"needed}\" has no = between name and value");
    check("FROM scratch\nENV A=${B?}\n", 2, "B: it must be set");
    check("FROM scratch\nENV A=${B\n", 2, "a ${ has no } that closes it");
    check("FROM scratch\nENV A=${}\n", 2, "${ is not followed by a name");
    check("FROM scratch\nENV A=${:-x}\n", 2, "${ is not followed by a name");
    check("FROM scratch\nENV A=${B/a}\n", 2, "a replacement needs two slashes: ${name/pattern/text}");
    check("FROM scratch\nENV \"A=b\n", 2, "a double quote has no second one that closes it");
    check(
        "FROM scratch\nENV A=${B^^}\n",
        2,
        "there is no operator \"^\": write ${name}, or one of :- :+ :? - + ? # ## % %% / // after the name",
    );
    check(
        "FROM scratch\nENV A=${1abc}\n",
        2,
        "there is no operator \"a\": write ${name}, or one of :- :+ :? - + ? # ## % %% / // after the name",
    );
    check("FROM scratch\nARG\n", 2, "ARG needs at least one argument");
    check("FROM scratch\nARG =x\n", 2, "ARG needs a name before =");
    check("FROM scratch\nARG A B=c =d\n", 2, "ARG needs a name before =");
    check("FROM scratch\nARG A=\"b\n", 2, "a double quote has no second one that closes it");
    check("FROM scratch\nARG A=${B:?x}\n", 2, "B: x");
    check("FROM scratch\nLABEL\n", 2, "LABEL needs at least one argument");
    check("FROM scratch\nLABEL a\n", 2, "LABEL a has no value");
    check("FROM scratch\nLABEL =a\n", 2, "LABEL needs a name before =");
    check("FROM scratch\nLABEL a=\"b\n", 2, "a double quote has no second one that closes it");
    check("FROM scratch\nLABEL --a=b\n", 2, "unknown flag --a");
    check("FROM scratch\nENV A={\nFOO=1\n}\n", 3, "unknown instruction FOO=1");
    check("FROM scratch\nENV A\nFOO\n", 2, "ENV A has no value");
    check("FROM scratch\nENV\u{85}A=b\n", 2, "unknown instruction ENV\u{85}A=b");
}

#[test]
fn the_rest() {
    check("FROM scratch\nONBUILD RUN <<EOF\nhi\n", 2, "the heredoc EOF is not ended");
    check("FROM scratch\nCMD --foo\n", 2, "unknown flag --foo");
    check("FROM scratch\nWORKDIR\n", 2, "WORKDIR takes exactly one argument");
    check("FROM scratch\nWORKDIR ${A:?x}\n", 2, "A: x");
    check("FROM scratch\nUSER\n", 2, "USER takes exactly one argument");
    check("FROM scratch\nEXPOSE\n", 2, "EXPOSE needs at least one argument");
    check("FROM scratch\nEXPOSE abc\n", 2, "EXPOSE abc: \"abc\" is not a port: a number from 0 to 65535");
    check("FROM scratch\nEXPOSE 20-10\n", 2, "EXPOSE 20-10: 20-10 ends before it begins");
    check("FROM scratch\nEXPOSE 70000\n", 2, "EXPOSE 70000: \"70000\" is not a port: a number from 0 to 65535");
    check("FROM scratch\nEXPOSE 80/foo\n", 2, "EXPOSE 80/foo: \"foo\" is not tcp, udp or sctp");
    check("FROM scratch\nEXPOSE -1\n", 2, "EXPOSE -1: \"\" is not a port: a number from 0 to 65535");
    check("FROM scratch\nVOLUME\n", 2, "VOLUME needs at least one argument");
    check("FROM scratch\nVOLUME [\"\"]\n", 2, "VOLUME needs a path, and one here is empty");
    check("FROM scratch\nVOLUME []\n", 2, "VOLUME needs at least one argument");
    check("FROM scratch\nVOLUME \"a\n", 2, "a double quote has no second one that closes it");
    check("FROM scratch\nSTOPSIGNAL\n", 2, "STOPSIGNAL takes exactly one argument");
    check("FROM scratch\nSTOPSIGNAL FOO\n", 2, "STOPSIGNAL FOO is not a signal");
    check("FROM scratch\nSTOPSIGNAL A B\n", 2, "STOPSIGNAL A B is not a signal");
    check("FROM scratch\nSTOPSIGNAL 0\n", 2, "STOPSIGNAL 0 is not a signal");
    check("FROM scratch\nARG A\nSTOPSIGNAL $A\n", 3, "STOPSIGNAL $A is empty here");
    check("FROM scratch\nHEALTHCHECK\n", 2, "HEALTHCHECK has no arguments");
    check("FROM scratch\nHEALTHCHECK FOO a\n", 2, "HEALTHCHECK FOO is not known");
    check("FROM scratch\nHEALTHCHECK NONE a\n", 2, "HEALTHCHECK NONE takes no arguments");
    check("FROM scratch\nHEALTHCHECK CMD\n", 2, "HEALTHCHECK CMD has no command");
    check("FROM scratch\nHEALTHCHECK --interval=x CMD a\n", 2, "--interval: \"x\" is not a duration");
    check("FROM scratch\nHEALTHCHECK --interval=1us CMD a\n", 2, "--interval cannot be less than 1ms, and 1us is");
    check("FROM scratch\nHEALTHCHECK --timeout=-1s CMD a\n", 2, "--timeout cannot be less than 1ms, and -1s is");
    check("FROM scratch\nHEALTHCHECK --retries=x CMD a\n", 2, "--retries: \"x\" is not a number");
    check("FROM scratch\nHEALTHCHECK --retries=-1 CMD a\n", 2, "--retries cannot be negative, and -1 is");
    check("FROM scratch\nHEALTHCHECK --foo=1 CMD a\n", 2, "unknown flag --foo");
    check("FROM scratch\nHEALTHCHECK --interval=5 CMD a\n", 2, "--interval: \"5\" is not a duration");
    check("FROM scratch\nHEALTHCHECK --interval=1s --interval=2s CMD a\n", 2, "--interval is given twice");
    check("FROM scratch\nHEALTHCHECK CMD []\n", 2, "HEALTHCHECK CMD has no command");
    check("FROM scratch\nSHELL\n", 2, "SHELL needs at least one argument");
    check("FROM scratch\nSHELL /bin/sh -c\n", 2, "SHELL takes a JSON array");
    check("FROM scratch\nSHELL []\n", 2, "SHELL needs at least one argument");
    check("FROM scratch\nSHELL [\"a\", 'b']\n", 2, "SHELL takes a JSON array");
    check("FROM scratch\nMAINTAINER\n", 2, "MAINTAINER takes exactly one argument");
    check("FROM scratch\nONBUILD\n", 2, "ONBUILD needs an instruction");
    check("FROM scratch\nONBUILD ONBUILD RUN a\n", 2, "ONBUILD cannot put off ONBUILD");
    check("FROM scratch\nONBUILD FROM a\n", 2, "ONBUILD cannot put off FROM");
    check("FROM scratch\nONBUILD MAINTAINER a\n", 2, "ONBUILD cannot put off MAINTAINER");
    check("FROM scratch\nONBUILD --x RUN a\n", 2, "unknown flag --x");
    check("FROM scratch\nEXPOSE a\nFROM scratch\nFOO\n", 4, "unknown instruction FOO");
    check("FROM scratch\nEXPOSE abc\nSTOPSIGNAL x\n", 2, "EXPOSE abc: \"abc\" is not a port: a number from 0 to 65535");
}
