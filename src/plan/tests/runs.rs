//! RUN: forms, heredocs, mounts.

use super::super::{MountKind, Network, Op, Options, Run};
use super::{PATH, history, last, options, plan, planned};
use bstr::ByteSlice;

fn run(dockerfile: &str) -> Run {
    match &last(&plan(dockerfile)).op {
        Op::Run(run) => run.clone(),
        other => panic!("{other:?}"),
    }
}

/// Checks the words of the last RUN, and its files.
#[track_caller]
fn check(instructions: &str, expected: &[&str], files: &[(&str, &str)]) {
    let run = run(&format!("FROM a\n{instructions}"));
    assert_eq!(run.argv, expected, "\n{instructions}");
    let found: Vec<_> = run.files.iter().map(|file| (file.path.as_str(), file.content.to_str().unwrap())).collect();
    assert_eq!(found, files);
}

#[test]
fn forms() {
    check("RUN a $B  \"c\"\n", &["/bin/sh", "-c", "a $B  \"c\""], &[]);
    check("RUN [\"a\", \"b c\"]\n", &["a", "b c"], &[]);
    check("SHELL [\"bash\", \"-ec\"]\nRUN a\n", &["bash", "-ec", "a"], &[]);
    check("RUN a \\\n  # c\n  b\n", &["/bin/sh", "-c", "a   b"], &[]);
    check("RUN\n", &["/bin/sh", "-c", ""], &[]);
}

#[test]
fn heredocs() {
    check("RUN <<E\na\n\tb $C\nE\n", &["/bin/sh", "-c", "a\n\tb $C\n"], &[]);
    check("RUN <<-E\n\ta\n\t\tb\n\tE\n", &["/bin/sh", "-c", "a\nb\n"], &[]);
    check("RUN <<\"E\"\na $B\nE\n", &["/bin/sh", "-c", "a $B\n"], &[]);
    check("RUN <<E\n#!/x\ny\nE\n", &["/bin/sh", "-c", "/dev/pipes/E"], &[("/dev/pipes/E", "#!/x\ny\n")]);
    check("RUN cat <<E\na\nE\n", &["/bin/sh", "-c", "cat <<E\na\nE"], &[]);
    check("RUN <<A <<-B\na\nA\n\tb\n\tB\n", &["/bin/sh", "-c", "<<A <<-B\na\nA\n\tb\nB"], &[]);
    check("RUN <<E python\na\nE\n", &["/bin/sh", "-c", "<<E python\na\nE"], &[]);
    check("SHELL [\"x\"]\nRUN <<E\na\nE\n", &["x", "a\n"], &[]);
}

#[test]
fn what_a_process_starts_with() {
    let run = run("FROM full\nENV A=1\nARG B=2\nUSER me:grp\nWORKDIR sub\nRUN --network=none x\n");
    assert_eq!(
        (run.cwd.as_str(), run.user.as_str(), run.network, run.insecure),
        ("/w/sub", "me:grp", Network::None, false)
    );
    assert_eq!(run.env, ["BASE=b", "TWO=x y", PATH, "A=1", "B=2"]);
    let host = Options { network: Some(Network::Host), ..options() };
    for (flag, expected) in
        [("", Network::Host), ("--network=default ", Network::Host), ("--network=none ", Network::None)]
    {
        let plan = planned(&format!("FROM a\nRUN {flag}x\n"), &host).unwrap();
        assert!(matches!(&last(&plan).op, Op::Run(run) if run.network == expected), "{flag}");
    }
}

/// Checks the mounts of a RUN in `/w`, one line each, and its inputs.
#[track_caller]
fn check_mounts(flags: &str, expected: &[&str], inputs: usize) {
    let text = format!("FROM a AS st\nFROM a\nENV V=tmpfs\nWORKDIR /w\nRUN {flags} x\n");
    let plan = plan(&text);
    let step = last(&plan);
    let Op::Run(run) = &step.op else { panic!("{step:?}") };
    let shown: Vec<String> = run
        .mounts
        .iter()
        .map(|mount| {
            let kind = match &mount.kind {
                MountKind::Bind { input, source, writable } => format!("bind {input} {source} rw={writable}"),
                MountKind::Cache { id, sharing, input, source, mode, uid, gid, read_only } => {
                    let input = input.map_or("-".to_owned(), |input| input.to_string());
                    format!("cache {id} {sharing:?} {input} {source} {mode:o} {uid}:{gid} ro={read_only}")
                }
                MountKind::Tmpfs { size, read_only } => format!("tmpfs {} ro={read_only}", size.unwrap_or(0)),
                MountKind::Secret { id, file, env, required, mode, uid, gid } => {
                    let env = env.as_deref().unwrap_or("-");
                    format!("secret {id} file={file} env={env} required={required} {mode:o} {uid}:{gid}")
                }
                MountKind::Ssh { id, required, mode, uid, gid } => {
                    format!("ssh {id} required={required} {mode:o} {uid}:{gid}")
                }
            };
            format!("{} {kind}", mount.target)
        })
        .collect();
    assert_eq!(shown, expected, "{flags}");
    assert_eq!(step.inputs.len(), inputs, "{:?}", step.inputs);
}

#[test]
fn mounts() {
    check_mounts("--mount=target=/m", &["/m bind 0 / rw=false"], 1);
    check_mounts("--mount=target=m/../n,src=a,rw", &["/w/n bind 0 /a rw=true"], 1);
    check_mounts("--mount=type=bind", &["/w bind 0 / rw=false"], 1);
    check_mounts(
        "--mount=from=st,target=/b --mount=from=st,src=x,target=/a",
        &["/a bind 0 /x rw=false", "/b bind 0 / rw=false"],
        1,
    );
    check_mounts("--mount=from=img,target=/b --mount=target=/c", &["/b bind 0 / rw=false", "/c bind 1 / rw=false"], 2);
    check_mounts("--mount=type=cache,target=/c/", &["/c cache /c Shared - / 755 0:0 ro=false"], 0);
    check_mounts("--mount=type=cache,target=c,id=x,sharing=locked,ro", &["/w/c cache x Locked - / 755 0:0 ro=true"], 0);
    check_mounts("--mount=type=cache,target=/c,from=st,source=s", &["/c cache /c Shared 0 /s 755 0:0 ro=false"], 1);
    check_mounts(
        "--mount=type=cache,target=/c,from=st,uid=5,mode=700",
        &["/c cache /c Shared - / 700 5:0 ro=false"],
        0,
    );
    check_mounts("--mount=type=$V,target=/t,size=1k", &["/t tmpfs 1024 ro=false"], 0);
    check_mounts("--mount=type=tmpfs,target=/t,ro", &["/t tmpfs 0 ro=true"], 0);
    check_mounts(
        "--mount=type=secret,id=a/b",
        &["/run/secrets/b secret a/b file=true env=- required=false 400 0:0"],
        0,
    );
    check_mounts(
        "--mount=type=secret,target=/k/key,uid=1",
        &["/k/key secret key file=true env=- required=false 400 1:0"],
        0,
    );
    check_mounts(
        "--mount=type=secret,id=a,env=A,required",
        &["/run/secrets/a secret a file=false env=A required=true 400 0:0"],
        0,
    );
    check_mounts(
        "--mount=type=secret,id=a,env=A,target=/f",
        &["/f secret a file=true env=A required=false 400 0:0"],
        0,
    );
    check_mounts(
        "--mount=type=ssh --mount=type=ssh,id=b,target=/s",
        &["/run/buildkit/ssh_agent.0 ssh default required=false 600 0:0", "/s ssh b required=false 600 0:0"],
        0,
    );
    check_mounts(
        "--mount=type=secret,id=a --mount=type=tmpfs,target=/z --mount=type=tmpfs,target=/y",
        &[
            "/y tmpfs 0 ro=false",
            "/z tmpfs 0 ro=false",
            "/run/secrets/a secret a file=true env=- required=false 400 0:0",
        ],
        0,
    );
}

#[test]
fn an_agent_is_announced() {
    let socket = |text: &str| run(text).env.into_iter().filter(|entry| entry.starts_with("SSH_")).collect::<Vec<_>>();
    assert_eq!(socket("FROM a\nRUN --mount=type=ssh,target=/s x\n"), ["SSH_AUTH_SOCK=/s"]);
    assert_eq!(socket("FROM a\nENV SSH_AUTH_SOCK=/own\nRUN --mount=type=ssh x\n"), ["SSH_AUTH_SOCK=/own"]);
}

#[test]
fn texts_and_history() {
    let text = "FROM a\nENV A=1\nrun --mount=type=secret,id=t,env=T echo $A $T '$A' $B\nRUN <<E\n\none\ntwo\nE\n";
    let plan = plan(text);
    let texts: Vec<&str> = plan.stages[0].steps.iter().map(|step| step.text.as_str()).collect();
    assert_eq!(texts[2..], ["RUN --mount=type=secret,id=t,env=T echo 1 **** '$A' $B", "RUN <<E (one...)"]);
    assert_eq!(
        history(&plan)[1..],
        ["RUN /bin/sh -c echo $A $T '$A' $B # buildkit", "RUN /bin/sh -c \none\ntwo\n # buildkit",]
    );
}
