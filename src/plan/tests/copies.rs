//! COPY and ADD: sources, destinations, flags.

use super::super::{CopySource, FileOrigin, Op};
use super::{history, last, plan};

/// Checks the last COPY or ADD of a stage in `/w`: its sources, where it goes, its flags and inputs.
#[track_caller]
fn check(instruction: &str, expected: &str) {
    let plan = plan(&format!("FROM a AS st\nFROM a\nENV A=x\nWORKDIR /w\n{instruction}"));
    let step = last(&plan);
    let Op::Copy(copy) = &step.op else { panic!("{step:?}") };
    let mut out: Vec<String> = copy
        .sources
        .iter()
        .map(|source| match source {
            CopySource::Path(path) => path.clone(),
            CopySource::Inline { name, content } => format!("<<{name}{content:?}"),
            CopySource::Url(address) => format!("url:{address}"),
            CopySource::Git(address) => format!("git:{address}"),
        })
        .collect();
    out.push(format!("→ {}", copy.dest));
    out.extend(copy.chown.iter().map(|it| format!("chown={it}")));
    out.extend(copy.chmod.iter().map(|it| format!("chmod={it}")));
    out.extend(copy.checksum.iter().map(|it| format!("checksum={it}")));
    out.extend(copy.unpack.map(|it| format!("unpack={it}")));
    out.extend(copy.exclude.iter().map(|it| format!("exclude={it}")));
    for (name, on) in [("add", copy.add), ("link", copy.link), ("parents", copy.parents), ("git", copy.keep_git_dir)] {
        out.extend(on.then(|| name.to_owned()));
    }
    out.extend(step.inputs.iter().map(|input| match input {
        FileOrigin::Context { name: None } => "context".to_owned(),
        FileOrigin::Stage(stage) => format!("#{}", stage.0),
        other => format!("{other:?}"),
    }));
    assert_eq!(out.join(" "), expected, "\n{instruction}");
}

#[test]
fn destinations() {
    check("COPY a b\n", "a → /w/b context");
    check("COPY a .\n", "a → /w/ context");
    check("COPY a b/\n", "a → /w/b/ context");
    check("COPY a /b/../c/.\n", "a → /c/ context");
    check("COPY a $NONE\n", "a → /w/ context");
    check("COPY a b c\n", "a b → /w/c context");
    check("COPY $NONE b\n", "/ → /w/b context");
    check("COPY [\"a b\", \"$A/c d\"]\n", "a b → /w/x/c d context");
}

#[test]
fn flags() {
    check(
        "COPY --from=st --chown=$A:1 --chmod=${B:-755} --link --parents --exclude=$A --exclude=y a b\n",
        "a → /w/b chown=x:1 chmod=755 exclude=$A exclude=y link parents #0",
    );
    check("COPY --chmod=u=rwX,go=rX --chown= --link=false a b\n", "a → /w/b chmod=u=rwX,go=rX context");
    check("ADD --unpack=false --keep-git-dir --link a b\n", "a → /w/b unpack=false add link git context");
}

#[test]
fn heredocs_are_files() {
    check("COPY <<E /d/\na $A \"q\" \\$A $N.\nE\n", "<<E\"a x \\\"q\\\" $A .\\n\" → /d/");
    check("COPY <<\"E\" /d\n$A\nE\n", "<<E\"$A\\n\" → /d");
    check("COPY <<-\"E\" /d\n\t\t$A\n\tE\n", "<<E\"$A\\n\" → /d");
    check("COPY <<-E p <<F /d/\n\t\ta\n\tE\nb\nF\n", "p <<E\"a\\n\" <<F\"b\\n\" → /d/ context");
    check("COPY <</E /d/\nx\n/E\n", "<</E\"x\\n\" → /d/");
    check("COPY <<a/../E /d/\nx\na/../E\n", "<<a/../E\"x\\n\" → /d/");
    check("ADD <<E /d\nx\nE\n", "<<E\"x\\n\" → /d add");
}

#[test]
fn addresses_and_repositories() {
    let digest = "0".repeat(64);
    check("ADD http://h/f.tar /d\n", "url:http://h/f.tar → /d add");
    check("ADD http://h/$A p https://h/r.git#v1 /d/\n", "url:http://h/x p git:https://h/r.git#v1 → /d/ add context");
    check(
        &format!("ADD --checksum=sha256:{digest} http://h/f /d\n"),
        &format!("url:http://h/f → /d checksum=sha256:{digest} add"),
    );
    check(
        "ADD https://h/r.git?keep-git-dir=1&commit=abc /d\n",
        "git:https://h/r.git?keep-git-dir=1&commit=abc → /d checksum=abc add git",
    );
    check("ADD git@h:r /d\n", "git:git@h:r → /d add");
}

#[test]
fn history_has_what_was_copied_and_not_from_where() {
    let text =
        "FROM a AS s\nFROM a\nENV A=x\nCOPY --from=s --link --chmod=1 --chown=$A --parents a $A b/\nADD <<E c /d/\nE\n";
    assert_eq!(
        history(&plan(text))[1..],
        ["COPY --parents --chown=x --chmod=1 a x b/ # buildkit", "ADD c <<E /d/ # buildkit",]
    );
}
