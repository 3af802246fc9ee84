use super::*;
use crate::engine::copied::{Copied, CopyMap};
use crate::engine::embedded::task::{Input, Stack, Upper};
use crate::layers::{FileTree, Kind};
use crate::snapshot::fixture::{self, build, list, raw, tar};
use crate::snapshot::scan::scan;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

/// An instruction as far as these tests need one: flags, sources, destination.
pub(in crate::engine::embedded) fn instruction(text: &str) -> Copy {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let add = words.remove(0) == "ADD";
    let mut copy = Copy {
        add,
        sources: Vec::new(),
        dest: words.pop().unwrap().to_owned(),
        chown: None,
        chmod: None,
        link: false,
        parents: false,
        exclude: Vec::new(),
        unpack: None,
        checksum: None,
        keep_git_dir: false,
    };
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name {
            "--chown" => copy.chown = Some(value.into()),
            "--chmod" => copy.chmod = Some(value.into()),
            "--exclude" => copy.exclude.push(value.into()),
            "--unpack" => copy.unpack = Some(value == "true"),
            "--parents" => copy.parents = true,
            "--link" => copy.link = true,
            _ if word.starts_with("http") => copy.sources.push(CopySource::Url(word.into())),
            _ if word.starts_with("git@") => copy.sources.push(CopySource::Git(word.into())),
            _ => match word.strip_prefix("<<") {
                Some(name) => copy.sources.push(CopySource::Inline { name: name.into(), content: "inline".into() }),
                None => copy.sources.push(CopySource::Path(word.into())),
            },
        }
    }
    copy
}

/// What the instruction is run with.
#[derive(Default)]
struct Case<'a> {
    instruction: &'a str,
    /// The source; a stage, unless there is an ignore file.
    source: &'a [&'a str],
    ignore: Option<&'a str>,
    /// Files for the source that lines cannot tell.
    files: &'a [(&'a str, Vec<u8>)],
    /// The destination before.
    before: &'a [&'a str],
    /// The destination after; times are told if the first line has one.
    after: &'a [&'a str],
    notices: &'a [&'a str],
}

fn run(case: &Case<'_>) -> (tempfile::TempDir, Result<Vec<String>, TaskError>) {
    let top = fixture::dir();
    let (from, to) = (top.path().join("from"), top.path().join("to"));
    std::fs::create_dir(&from).unwrap();
    std::fs::create_dir(&to).unwrap();
    std::fs::write(top.path().join("outside"), "outside").unwrap();
    build(&from, case.source);
    for (name, content) in case.files {
        std::fs::write(from.join(name), content).unwrap();
    }
    build(&to, case.before);
    let input = match case.ignore {
        None => Input::Stack(Stack::default()),
        Some(text) => Input::Directory { path: from.clone(), ignore: Some(text.to_owned()) },
    };
    let fetched = |name: &str| (name.to_owned(), top.path().join("from").join("fetched"));
    let copy_ = instruction(case.instruction);
    let task = CopyTask {
        stack: Stack::default(),
        upper: Upper { dir: to.clone(), work: to.clone() },
        fetched: copy_
            .sources
            .iter()
            .filter_map(|it| match it {
                CopySource::Url(name) | CopySource::Git(name) => Some(fetched(name)),
                _ => None,
            })
            .collect(),
        copy: copy_,
        input: Some(input),
    };
    let source = Root::open(&from).unwrap();
    let root = Root::open(&to).unwrap();
    let result = copy(&task, Some(source.as_fd()), root.as_fd());
    assert_eq!(std::fs::read_to_string(top.path().join("outside")).unwrap(), "outside");
    assert_eq!(std::fs::read_dir(top.path()).unwrap().count(), 3);
    (top, result)
}

#[track_caller]
fn check_case(case: Case<'_>) {
    let (top, result) = run(&case);
    let mut notices = result.unwrap_or_else(|error| panic!("{}: {error} {:?}", case.instruction, error.help));
    // An ordinary user cannot give files to root; that is told elsewhere.
    notices.retain(|it| fixture::is_root() || !it.starts_with("owners"));
    let times = case.after.iter().any(|line| line.contains('~'));
    assert_eq!(list(&top.path().join("to"), times), case.after, "{}", case.instruction);
    assert_eq!(notices, case.notices, "{}", case.instruction);
    check_origins(&case, top.path());
}

/// Every file is there because it was before, or because of the source that the rules name; the contents tell.
#[track_caller]
fn check_origins(case: &Case<'_>, top: &Path) {
    let tree = |layer: crate::layers::Layer| Arc::new(FileTree::merge(&[Arc::new(layer)]));
    let (from, to, old) = (top.join("from"), top.join("to"), top.join("old"));
    std::fs::create_dir(&old).unwrap();
    build(&old, case.before);
    let input = Input::Directory { path: from.clone(), ignore: case.ignore.map(str::to_owned) };
    let source = tree(crate::engine::embedded::origin::list(&input).unwrap());
    let (before, after) = (tree(scan(&old).unwrap()), tree(scan(&to).unwrap()));
    let map = CopyMap::new(&instruction(case.instruction), Some(source), &before, &after);
    let read = |root: &Path, path: &BStr| std::fs::read(root.join(path.to_path().unwrap())).ok();
    for id in after.walk(FileTree::ROOT) {
        if after.meta(id).kind != Kind::File {
            continue;
        }
        let path = after.path(id);
        let content = read(&to, path.as_bstr());
        match map.source_of(path.as_bstr()) {
            Some(Copied::Path(found)) => {
                assert_eq!(read(&from, found.as_bstr()), content, "{}: {path} < {found}", case.instruction);
            }
            Some(Copied::Inline(_)) => assert_eq!(content.as_deref(), Some(&b"inline"[..]), "{path}"),
            Some(Copied::Url(_)) => assert_eq!(content, read(&from, "fetched".into()), "{path}"),
            Some(Copied::Git(_)) => assert!(case.instruction.contains("git@"), "{path}"),
            Some(Copied::Archive(_)) => {
                let unpacks = case.instruction.starts_with("ADD") || case.instruction.contains("--unpack=true");
                assert!(unpacks, "{path}");
            }
            None => assert_eq!(read(&old, path.as_bstr()), content, "{}: {path}", case.instruction),
        }
    }
}

#[track_caller]
fn check(instruction: &str, source: &[&str], before: &[&str], after: &[&str]) {
    check_case(Case { instruction, source, before, after, ..Case::default() });
}

/// The error's message and help, joined.
#[track_caller]
fn check_error(instruction: &str, source: &[&str], ignore: Option<&str>, before: &[&str], parts: &[&str]) {
    let (_top, result) = run(&Case { instruction, source, ignore, before, ..Case::default() });
    let error = result.expect_err(instruction);
    assert!(error.input, "{error}");
    let text = format!("{error}\n{}", error.help.join("\n"));
    for part in parts {
        assert!(text.contains(part), "{instruction}: {text}");
    }
}

const TREE: &[&str] = &[
    "dir 750 d ~100",
    "file 640 d/a 1 ~101",
    "dir 700 d/sub ~102",
    "file 4755 d/sub/b 2 ~103",
    "link 777 d/sub/l ->b ~104",
    "file 644 top 3 ~105",
];

#[test]
fn a_file() {
    check("COPY top /x", TREE, &[], &["file 644 x 3 ~105"]);
    check("COPY /top /x", TREE, &[], &["file 644 x 3 ~105"]);
    check("COPY d/../top /", TREE, &[], &["file 644 top 3 ~105"]);
    check("COPY top /n/m/x", TREE, &[], &["dir 755 n ~315619200", "dir 755 n/m ~315619200", "file 644 n/m/x 3 ~105"]);
    check("COPY top /n/", TREE, &[], &["dir 755 n ~315619200", "file 644 n/top 3 ~105"]);
    check("COPY top /n", TREE, &["dir 711 n ~7"], &["dir 711 n ~7", "file 644 n/top 3 ~105"]);
    check("COPY top d/a /n/", TREE, &[], &["dir 755 n", "file 640 n/a 1", "file 644 n/top 3"]);
}

#[test]
fn a_directory_is_its_content() {
    check(
        "COPY d /n",
        TREE,
        &[],
        &[
            "dir 755 n ~100",
            "file 640 n/a 1 ~101",
            "dir 700 n/sub ~102",
            "file 4755 n/sub/b 2 ~103",
            "link 777 n/sub/l ->b ~104",
        ],
    );
    check(
        "COPY d/ /n/",
        TREE,
        &[],
        &["dir 755 n", "file 640 n/a 1", "dir 700 n/sub", "file 4755 n/sub/b 2", "link 777 n/sub/l ->b"],
    );
    check("COPY d /", TREE, &[], &["file 640 a 1", "dir 700 sub", "file 4755 sub/b 2", "link 777 sub/l ->b"]);
    check("COPY . /", TREE, &[], TREE);
    check("COPY e /n", &["dir 700 e"], &[], &["dir 755 n"]);
}

#[test]
fn directories_that_were_there() {
    // The destination itself keeps its mode, those below it do not.
    check(
        "COPY d /n",
        TREE,
        &["dir 711 n ~7", "dir 711 n/sub ~8", "file 600 n/sub/other x ~9"],
        &[
            "dir 711 n ~100",
            "file 640 n/a 1 ~101",
            "dir 700 n/sub ~102",
            "file 4755 n/sub/b 2 ~103",
            "link 777 n/sub/l ->b ~104",
            "file 600 n/sub/other x ~9",
        ],
    );
}

#[test]
fn what_is_in_the_way() {
    check("COPY top /x", TREE, &["file 600 x old"], &["file 644 x 3"]);
    check("COPY top /x", TREE, &["file 600 real old", "link 777 x ->real"], &["file 644 real 3", "link 777 x ->real"]);
    check("COPY top /x/", TREE, &["dir 755 x", "link 777 x/top ->y"], &["dir 755 x", "file 644 x/top 3"]);
    check(
        "COPY d /n",
        TREE,
        &["dir 755 n", "link 777 n/a ->b"],
        &["dir 755 n", "file 640 n/a 1", "dir 700 n/sub", "file 4755 n/sub/b 2", "link 777 n/sub/l ->b"],
    );
    check_error("COPY d /n", TREE, None, &["file 644 n x"], &["/d is a directory", "/n", "a file already"]);
    check_error("COPY d /n", TREE, None, &["dir 755 n", "file 644 n/sub x"], &["/d/sub is a directory", "/n/sub"]);
    check_error("COPY d /n", TREE, None, &["dir 755 n", "dir 755 n/a"], &["/d/a is a file", "/n/a"]);
    check_error("COPY d /n", TREE, None, &["dir 755 n", "dir 755 x", "link 777 n/sub ->../x"], &["/n/sub"]);
    check_error("COPY top /f/x", TREE, None, &["file 644 f x"], &["no directory"]);
    check_error("COPY top /f/", TREE, None, &["file 644 f x"], &["no directory"]);
}

#[test]
fn links_in_the_destination_stay_inside() {
    check(
        "COPY top /l/x",
        TREE,
        &["dir 755 real", "link 777 l ->/real"],
        &["link 777 l ->/real", "dir 755 real", "file 644 real/x 3"],
    );
    check(
        "COPY top /l",
        TREE,
        &["dir 755 real", "link 777 l ->real"],
        &["link 777 l ->real", "dir 755 real", "file 644 real/top 3"],
    );
    check("COPY top /l/x", TREE, &["link 777 l ->../../.."], &["link 777 l ->../../..", "file 644 x 3"]);
    check("COPY top /l", TREE, &["link 777 l ->../outside"], &["link 777 l ->../outside", "file 644 outside 3"]);
    check(
        "COPY top /l/",
        TREE,
        &["link 777 l ->gone/far"],
        &["dir 755 gone", "dir 755 gone/far", "file 644 gone/far/top 3", "link 777 l ->gone/far"],
    );
    check_error("COPY top /l/x", TREE, None, &["link 777 l ->l"], &["cannot copy to \"/l/x\""]);
}

#[test]
fn links_in_the_source() {
    let links = &[
        "dir 755 d",
        "file 644 d/a 1",
        "link 777 d/up ->../top",
        "link 777 dl ->d",
        "link 777 fl ->/d/a",
        "link 777 out ->../outside",
        "file 644 top 3",
    ];
    // A link that is named is followed, one that is found is copied.
    check("COPY fl /x", links, &[], &["file 644 x 1"]);
    check("COPY fl /n/", links, &[], &["dir 755 n", "file 644 n/fl 1"]);
    check("COPY dl /n/", links, &[], &["dir 755 n", "file 644 n/a 1", "link 777 n/up ->../top"]);
    check("COPY dl/up /n/", links, &[], &["dir 755 n", "file 644 n/up 3"]);
    check("COPY f* /n/", links, &[], &["dir 755 n", "file 644 n/fl 1"]);
    check_error(
        "COPY out /x",
        links,
        None,
        &[],
        &["/out is not in the stage", "\"out\" is a symbolic link to \"../outside\""],
    );
    check_error("COPY dl/../../outside /x", links, None, &[], &["/outside is not in"]);
}

#[test]
fn wildcards() {
    let many = &[
        "dir 755 d",
        "file 644 d/a.c 1",
        "file 644 d/b.c 2",
        "dir 755 d/x.c",
        "file 644 d/x.c/in 3",
        "dir 755 e",
        "file 644 e/a.c 4",
        "file 644 [x] 5",
    ];
    check("COPY d/?.c /n/", many, &[], &["dir 755 n", "file 644 n/a.c 1", "file 644 n/b.c 2", "file 644 n/in 3"]);
    check("COPY */a.c /n/", many, &[], &["dir 755 n", "file 644 n/a.c 4"]);
    check("COPY d/[a-b].c /n/", many, &[], &["dir 755 n", "file 644 n/a.c 1", "file 644 n/b.c 2"]);
    check("COPY [[]x] /n/", many, &[], &["dir 755 n", "file 644 n/[x] 5"]);
    // Without a directory to copy to, the last one stays.
    check("COPY d/?.c /n", &many[..3], &[], &["file 644 n 2"]);
    check_case(Case {
        instruction: "COPY d/*.h [[]x] /n/",
        source: many,
        after: &["dir 755 n", "file 644 n/[x] 5"],
        notices: &["no file matches \"d/*.h\""],
        ..Case::default()
    });
    check_error("COPY no/*.c /n/", many, None, &[], &["/no is not in the stage"]);
    check_error("COPY d/[ /n/", many, None, &[], &["the wildcard \"d/[\""]);
}

#[test]
fn what_is_missing_is_named_with_what_is_near() {
    check_error("COPY tpo /x", TREE, None, &[], &["/tpo is not in the stage", "did you mean \"top\"?"]);
    check_error("COPY d/sub/bb /x", TREE, None, &[], &["did you mean \"d/sub/b\"?"]);
    check_error("COPY b /x", TREE, None, &[], &["there is \"d/sub/b\""]);
    check_error("COPY d/wholly-other /x", TREE, None, &[], &["\"d\" has \"a\", \"sub\""]);
    check_error("COPY top/x /x", TREE, None, &[], &["/top/x is not in"]);
    check_error("COPY top none /n/", TREE, None, &[], &["/none is not in"]);
    check_error("COPY no /x", TREE, None, &[], &["the stage it is copied from has \"d\", \"top\""]);
    check_error("COPY a /x", &[], None, &[], &["is empty"]);
}

#[test]
fn modes_and_owners() {
    check("COPY --chmod=751 top /n/", TREE, &[], &["dir 751 n", "file 751 n/top 3"]);
    check("COPY --chmod=4711 top /x", TREE, &[], &["file 4711 x 3"]);
    check(
        "COPY --chmod=u=rwX,go=rX d /n",
        TREE,
        &[],
        &["dir 755 n", "file 644 n/a 1", "dir 755 n/sub", "file 755 n/sub/b 2", "link 777 n/sub/l ->b"],
    );
    check_error("COPY --chmod=999 top /x", TREE, None, &[], &["invalid --chmod=999"]);
    if !fixture::is_root() {
        return;
    }
    let passwd = &["dir 755 etc", "file 644 etc/passwd app:x:7:8::/:", "file 644 etc/group dev:x:9:"];
    let after = |lines: &[&str]| -> Vec<String> { passwd.iter().chain(lines).map(|it| (*it).to_owned()).collect() };
    for (spec, owner) in [("app", "7:8"), ("app:dev", "7:9"), ("55", "55:55"), ("1:2", "1:2"), ("55:dev", "55:9")] {
        let case = Case {
            instruction: &format!("COPY --chown={spec} d /n/m"),
            source: &TREE[..2],
            before: passwd,
            ..Case::default()
        };
        let (top, result) = run(&case);
        assert_eq!(result.unwrap(), [""; 0]);
        let expected =
            [format!("dir 755 n @{owner}"), format!("dir 755 n/m @{owner}"), format!("file 640 n/m/a 1 @{owner}")];
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        let mut found = list(&top.path().join("to"), false);
        found.sort();
        let mut expected = after(&expected);
        expected.sort();
        assert_eq!(found, expected, "{spec}");
    }
    check_case(Case {
        instruction: "COPY --chown=ghost top /x",
        source: &["file 644 top 3 @5:6"],
        before: &["file 644 before"],
        after: &["file 644 before", "file 644 x 3"],
        notices: &["--chown ghost: this stage knows no \"ghost\"; root is taken, as Docker does"],
        ..Case::default()
    });
    check_error("COPY --chown=app top /x", TREE, None, &[], &["--chown app: there is no /etc/passwd"]);
    // Owners of another stage are kept, those of the host are not.
    check(
        "COPY d /n",
        &["dir 755 d @5:6", "file 644 d/a 1 @7:8", "link 777 d/l ->a @9:9"],
        &[],
        &["dir 755 n", "file 644 n/a 1 @7:8", "link 777 n/l ->a @9:9"],
    );
    check_case(Case {
        instruction: "COPY d /n",
        source: &["dir 755 d @5:6", "file 644 d/a 1 @7:8", "dir 700 d/s @7:8"],
        ignore: Some(""),
        after: &["dir 755 n", "file 644 n/a 1", "dir 700 n/s"],
        ..Case::default()
    });
}

#[test]
fn attributes_hard_links_and_special_files() {
    check(
        "COPY . /n/",
        &["file 644 a 1 +user.color=red", "hard 0 b =a", "fifo 600 p", "file 644 z 1"],
        &[],
        &["dir 755 n", "file 644 n/a 1 +user.color=red", "hard 0 n/b =n/a", "fifo 600 n/p", "file 644 n/z 1"],
    );
    // Two sources are two copies.
    check("COPY a b /n/", &["file 644 a 1", "hard 0 b =a"], &[], &["dir 755 n", "file 644 n/a 1", "file 644 n/b 1"]);
    if fixture::is_root() {
        check("COPY . /n/", &["char 666 null :1,3"], &[], &["dir 755 n", "char 666 n/null :1,3"]);
    }
    let top = fixture::dir();
    std::fs::create_dir(top.path().join("to")).unwrap();
    std::fs::create_dir(top.path().join("from")).unwrap();
    // A socket's address is no longer than 108 bytes, so it is bound from beside it.
    let socket = Path::new("/proc/self/fd").join({
        use std::os::fd::AsRawFd;
        let dir = std::fs::File::open(top.path().join("from")).unwrap();
        let name = dir.as_raw_fd().to_string();
        std::mem::forget(dir);
        name
    });
    let _listener = std::os::unix::net::UnixListener::bind(socket.join("s")).unwrap();
    let source = Root::open(&top.path().join("from")).unwrap();
    let root = Root::open(&top.path().join("to")).unwrap();
    let task = CopyTask {
        stack: Stack::default(),
        upper: Upper { dir: top.path().into(), work: top.path().into() },
        copy: instruction("COPY --chmod=600 s /x"),
        input: Some(Input::Stack(Stack::default())),
        fetched: Vec::new(),
    };
    copy(&task, Some(source.as_fd()), root.as_fd()).unwrap();
    assert_eq!(list(&top.path().join("to"), false), ["file 600 x"]);
}

#[test]
fn ignore_files() {
    let context = &[
        "dir 755 a ~1",
        "file 644 a/drop 1 ~2",
        "file 644 a/keep 2 ~3",
        "dir 755 b ~4",
        "file 644 b/drop 3 ~5",
        "link 777 l ->b ~6",
        "file 644 top 4 ~7",
    ];
    let ignored = |instruction: &str, ignore: &str, after: &[&str]| {
        check_case(Case { instruction, source: context, ignore: Some(ignore), after, ..Case::default() });
    };
    ignored("COPY . /", "**/drop\nl", &["dir 755 a ~1", "file 644 a/keep 2 ~3", "dir 755 b ~4", "file 644 top 4 ~7"]);
    ignored("COPY . /", "*\n!a/keep", &["dir 755 a ~1", "file 644 a/keep 2 ~3"]);
    ignored("COPY a /n", "*\n!a/keep", &["dir 755 n ~1", "file 644 n/keep 2 ~3"]);
    ignored("COPY */keep /n/", "*\n!a/keep", &["dir 755 n", "file 644 n/keep 2"]);
    ignored("COPY * /n/", "*\n!a/keep", &["dir 755 n", "file 644 n/keep 2"]);
    // What makes a directory part of the context may be left out of it again.
    ignored("COPY --exclude=*/keep . /", "*\n!a/keep", &["dir 755 a ~1"]);
    ignored("COPY --exclude=a . /", "*\n!a/keep", &[]);
    ignored("COPY . /", "*\n!a/none", &[]);
    let missing = |instruction: &str, ignore: &str, parts: &[&str]| {
        check_error(instruction, context, Some(ignore), &[], parts);
    };
    missing("COPY top /x", "# comment\ntop", &["/top is not in the build context", "line 2 of the ignore file"]);
    missing("COPY b /x", "b", &["line 1 of the ignore file"]);
    missing("COPY l/drop /x", "l", &["/l/drop is not in"]);
    missing("COPY l /x", "b", &["ignore file excludes what it leads to"]);
    missing("COPY tpo /x", "top", &["/tpo is not in"]);
    missing("COPY top /x", "[", &["ignore file of the build context"]);
}

#[test]
fn exclude() {
    check("COPY --exclude=a --exclude=**/l d /n", TREE, &[], &["dir 755 n", "dir 700 n/sub", "file 4755 n/sub/b 2"]);
    check("COPY --exclude=sub d /n", TREE, &[], &["dir 755 n", "file 640 n/a 1"]);
    check("COPY --exclude=* d /n", TREE, &[], &["dir 755 n"]);
    check(
        "COPY --exclude=sub --exclude=!sub/b d /n",
        TREE,
        &[],
        &["dir 755 n", "file 640 n/a 1", "dir 700 n/sub", "file 4755 n/sub/b 2"],
    );
    // What is named itself is not held against it.
    check("COPY --exclude=top t* /n/", TREE, &[], &["dir 755 n", "file 644 n/top 3"]);
}

#[test]
fn parents() {
    check(
        "COPY --parents d/sub/b /n/",
        TREE,
        &[],
        &["dir 755 n", "dir 750 n/d", "dir 700 n/d/sub", "file 4755 n/d/sub/b 2"],
    );
    check("COPY --parents d/./sub/b /n/", TREE, &[], &["dir 755 n", "dir 700 n/sub", "file 4755 n/sub/b 2"]);
    check(
        "COPY --parents d/sub /n/",
        TREE,
        &[],
        &["dir 755 n", "dir 750 n/d", "dir 700 n/d/sub", "file 4755 n/d/sub/b 2", "link 777 n/d/sub/l ->b"],
    );
    check("COPY --parents */a /n/", TREE, &[], &["dir 755 n", "dir 750 n/d", "file 640 n/d/a 1"]);
    check(
        "COPY --parents **/b /n/",
        TREE,
        &[],
        &["dir 755 n", "dir 750 n/d", "dir 700 n/d/sub", "file 4755 n/d/sub/b 2"],
    );
    check("COPY --parents d/no* /n/", TREE, &[], &["dir 755 n"]);
    let below_d = &["dir 755 n", "dir 700 n/sub", "file 4755 n/sub/b 2"];
    for source in ["/d/./sub/b/.", "d/./sub/./b", "./d/./*/b", "d/./**/b"] {
        check(&format!("COPY --parents {source} /n/"), TREE, &[], below_d);
    }
    let merged = &["dir 755 n", "dir 755 n/c", "file 644 n/c/one 1", "file 644 n/c/two 2"];
    check(
        "COPY --parents a/*/./c/one a/*/./**/two /n/",
        &[
            "dir 755 a",
            "dir 755 a/x",
            "dir 755 a/x/c",
            "file 644 a/x/c/one 1",
            "dir 755 a/y",
            "dir 755 a/y/c",
            "file 644 a/y/c/two 2",
        ],
        &[],
        merged,
    );
    // A directory on the way that was there takes the source's mode, and no more.
    check(
        "COPY --parents d/sub/b /",
        TREE,
        &["dir 711 d ~7"],
        &["dir 750 d ~7", "dir 700 d/sub ~102", "file 4755 d/sub/b 2 ~103"],
    );
    // Where there is nothing to have parents, nothing is meant.
    check("COPY --parents d*/./ /n/", TREE, &[], &["dir 755 n"]);
    check_error("COPY --parents . /n/", TREE, None, &[], &["/ is not in the stage"]);
    check_error("COPY --parents d/./ /n/", TREE, None, &[], &["/d is not in the stage"]);
    check_error("COPY --parents d/none /n/", TREE, None, &[], &["/d/none is not in the stage"]);
    check_error("COPY --parents d/./none /n/", TREE, None, &[], &["/d/none is not in the stage"]);
    check_error("COPY --parents none/./x /n/", TREE, None, &[], &["/none is not in the stage"]);
}

#[test]
fn files_of_the_dockerfile() {
    check(
        "COPY <<one <<two /n/",
        &[],
        &[],
        &["dir 755 n ~315619200", "file 644 n/one inline ~315619200", "file 644 n/two inline ~315619200"],
    );
    check("COPY --chmod=755 <<EOF /x", &[], &["file 600 x old"], &["file 755 x inline ~315619200"]);
    check("COPY <<EOF /l", &[], &["link 777 l ->real"], &["link 777 l ->real", "file 644 real inline"]);
    check_error("COPY <<EOF /n/", &[], None, &["dir 755 n", "dir 755 n/EOF"], &["/n/EOF"]);
}

#[test]
fn what_was_fetched() {
    let fetched = &["file 640 fetched 1 ~9"];
    check(
        "ADD https://example.org/a/b.txt?x=y/z /n/",
        fetched,
        &[],
        &["dir 755 n ~315619200", "file 600 n/b.txt 1 ~9"],
    );
    check("ADD https://example.org/ /n/", fetched, &[], &["dir 755 n", "file 600 n/__unnamed__ 1"]);
    check("ADD --chmod=755 https://example.org/x /n", fetched, &[], &["file 755 n 1"]);
    let repository = &["dir 711 fetched ~8", "file 640 fetched/a 1 ~9", "dir 700 fetched/.git ~10"];
    check(
        "ADD git@example.org:x.git /n",
        repository,
        &[],
        &["dir 711 n ~8", "dir 700 n/.git ~10", "file 640 n/a 1 ~9"],
    );
    check(
        "ADD git@example.org:x.git /n/",
        repository,
        &["dir 755 n"],
        &["dir 755 n", "dir 700 n/.git", "file 640 n/a 1"],
    );
}

fn pack(format: &str, archive: &[u8]) -> Vec<u8> {
    match format {
        "gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(archive).unwrap();
            encoder.finish().unwrap()
        }
        "bz2" => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(archive).unwrap();
            encoder.finish().unwrap()
        }
        "xz" => {
            let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
            encoder.write_all(archive).unwrap();
            encoder.finish().unwrap()
        }
        "zst" => zstd::encode_all(archive, 1).unwrap(),
        _ => archive.to_vec(),
    }
}

#[test]
fn archives_are_unpacked() {
    let archive = tar(&[
        "dir 700 d ~1",
        "file 640 d/f 1 ~2",
        "file 600 deep/er/g 2 ~3",
        "link 777 l ->/d ~4",
        "file 644 l/h 3 ~5",
    ]);
    for format in ["tar", "gz", "bz2", "xz", "zst"] {
        check_case(Case {
            instruction: "ADD a /n",
            files: &[("a", pack(format, &archive))],
            after: &[
                "dir 755 n ~315619200",
                "dir 700 n/d ~1",
                "file 640 n/d/f 1 ~2",
                "file 644 n/d/h 3 ~5",
                "dir 755 n/deep ~315619200",
                "dir 755 n/deep/er ~315619200",
                "file 600 n/deep/er/g 2 ~3",
                "link 777 n/l ->/d ~4",
            ],
            ..Case::default()
        });
    }
    let content = tar(&["file 644 f 1"]);
    let files = &[("a.tar", content.clone()), ("b.tar", tar(&["file 644 g 2"])), ("note", b"text".to_vec())];
    check_case(Case {
        instruction: "ADD *.tar /n/",
        files,
        after: &["dir 755 n", "file 644 n/f 1", "file 644 n/g 2"],
        ..Case::default()
    });
    check_case(Case {
        instruction: "ADD note /n/",
        files,
        after: &["dir 755 n", "file 644 n/note text"],
        ..Case::default()
    });
    check_case(Case { instruction: "COPY --unpack=true a.tar /", files, after: &["file 644 f 1"], ..Case::default() });
    for instruction in ["ADD --unpack=false a.tar /x", "COPY a.tar /x"] {
        let (top, result) = run(&Case { instruction, files, ..Case::default() });
        result.unwrap();
        assert_eq!(std::fs::read(top.path().join("to/x")).unwrap(), content);
    }
    let link = &["link 777 l ->/a.tar"];
    check_case(Case { instruction: "ADD l /", source: link, files, after: &["file 644 f 1"], ..Case::default() });
}

#[test]
fn what_is_an_archive_and_what_can_be_unpacked() {
    let typed = |flag: u8| raw("file 644 f x", b"x", |block| block[156] = flag);
    // Its first member is told by a header, but no unpacker knows the type.
    for flag in [b'7', b'S', b'V'] {
        let (_top, result) = run(&Case { instruction: "ADD a /n", files: &[("a", typed(flag))], ..Case::default() });
        assert!(result.unwrap_err().message.contains("which no layer may have"), "{flag}");
    }
    // Nothing says where the first member ends.
    let content = raw("file 644 f x", b"x", |block| block[124..136].fill(b'x'));
    let (top, result) = run(&Case { instruction: "ADD a /n", files: &[("a", content.clone())], ..Case::default() });
    result.unwrap();
    assert_eq!(std::fs::read(top.path().join("to/n")).unwrap(), content);
}

#[test]
fn archives_replace_what_is_in_the_way() {
    let archive = &[("a", tar(&["file 644 x 1", "dir 700 y", "dir 711 z", "file 644 .wh.old"]))];
    check_case(Case {
        instruction: "ADD a /",
        files: archive,
        before: &["dir 755 x", "file 644 x/in 1", "file 644 y 1", "dir 755 z", "file 644 z/stays 1", "file 644 old 1"],
        after: &["file 644 .wh.old", "file 644 old 1", "file 644 x 1", "dir 700 y", "dir 711 z", "file 644 z/stays 1"],
        ..Case::default()
    });
    let out = &[("a", tar(&["file 644 ../x 1"]))];
    let (_top, result) = run(&Case { instruction: "ADD a /n", files: out, ..Case::default() });
    assert!(result.unwrap_err().message.contains("leads out of it"));
    let link = &[("a", tar(&["link 777 l ->../..", "file 644 l/x 1", "hard 0 h =l/../../outside"]))];
    let (_top, result) = run(&Case { instruction: "ADD a /n", files: link, ..Case::default() });
    assert!(result.unwrap_err().message.contains("which is not there"));
    let mut cut = tar(&["file 644 f 0123456789"]);
    cut.truncate(515);
    let (_top, result) = run(&Case { instruction: "ADD a /n", files: &[("a", cut)], ..Case::default() });
    assert!(result.unwrap_err().message.contains("cannot be unpacked"));
}

#[test]
fn archives_with_an_owner() {
    if !fixture::is_root() {
        return;
    }
    check_case(Case {
        instruction: "ADD --chown=5:6 a /n",
        files: &[("a", tar(&["file 644 d/f 1 @1:2"]))],
        after: &["dir 755 n @5:6", "dir 755 n/d", "file 644 n/d/f 1 @5:6"],
        ..Case::default()
    });
    check_case(Case {
        instruction: "ADD a /",
        files: &[("a", tar(&["file 644 f 1 @1:2"]))],
        after: &["file 644 f 1 @1:2"],
        ..Case::default()
    });
}

#[test]
fn capabilities_of_the_host_do_not_come_along() {
    if !fixture::is_root() {
        return;
    }
    let top = fixture::dir();
    for name in ["from", "to", "stage"] {
        std::fs::create_dir(top.path().join(name)).unwrap();
    }
    build(&top.path().join("from"), &["file 755 ping x"]);
    let capability: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let has = |path: &Path| {
        let mut value = [0u8; 64];
        rustix::fs::getxattr(path, "security.capability", &mut value[..]).is_ok()
    };
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(top.path().join("from/ping"), "security.capability", capability, flags).unwrap();
    let host = Input::Directory { path: top.path().join("from"), ignore: None };
    for (input, into, kept) in [(Input::Stack(Stack::default()), "stage", true), (host, "to", false)] {
        let task = CopyTask {
            stack: Stack::default(),
            upper: Upper { dir: top.path().into(), work: top.path().into() },
            copy: instruction("COPY ping /"),
            input: Some(input),
            fetched: Vec::new(),
        };
        let source = Root::open(&top.path().join("from")).unwrap();
        let root = Root::open(&top.path().join(into)).unwrap();
        copy(&task, Some(source.as_fd()), root.as_fd()).unwrap();
        assert_eq!(has(&top.path().join(into).join("ping")), kept, "{into}");
    }
}

/// CVE-2018-15664. What is copied was looked up, or was begun, and then a directory of it changes places with a link to
/// one outside. It is an error, and nothing from outside is copied.
#[test]
fn a_link_that_comes_after_the_look_is_not_followed() {
    use crate::engine::embedded::selection::{Visit, Wanted, walk};
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use std::os::fd::BorrowedFd;

    /// Swaps right before the visit of a path.
    struct Swapping<'a, V> {
        before: &'a str,
        swap: &'a dyn Fn(),
        inner: V,
    }
    impl<V: Visit> Visit for Swapping<'_, V> {
        fn directory(&mut self, found: &Found, relative: &BStr, wanted: Wanted) -> Result<(), TaskError> {
            if found.path == self.before {
                (self.swap)();
            }
            self.inner.directory(found, relative, wanted)
        }

        fn entry(&mut self, dir: BorrowedFd<'_>, found: &Found, relative: &BStr) -> Result<(), TaskError> {
            if found.path == self.before {
                (self.swap)();
            }
            self.inner.entry(dir, found, relative)
        }
    }

    // The source, what changes places with the link, before which visit (or before the first), and whether that is an
    // error: a directory that is open already is read to its end.
    for (source, swapped, before, error) in [
        ("dir/file", "dir", None, true),
        ("dir/file", "dir/file", None, true),
        ("dir/sub/file", "dir/sub", None, true),
        ("dir", "dir", None, true),
        ("dir", "dir/sub", None, false),
        ("dir", "dir/file", Some("dir/file"), true),
        ("dir", "dir/sub", Some("dir/sub"), true),
        ("dir", "dir/sub", Some("dir/sub/file"), false),
        ("dir", "dir/sub/file", Some("dir/sub/file"), true),
        ("dir", "dir", Some("dir/sub"), true),
    ] {
        for foreign in [true, false] {
            let top = fixture::dir();
            for name in ["from", "to", "outside"] {
                std::fs::create_dir(top.path().join(name)).unwrap();
            }
            build(
                &top.path().join("from"),
                &["dir 755 dir", "file 644 dir/file inside", "dir 755 dir/sub", "file 644 dir/sub/file inside"],
            );
            build(&top.path().join("outside"), &["file 600 file outside"]);
            let file = swapped.ends_with("file");
            let outside = top.path().join(if file { "outside/file" } else { "outside" });
            std::os::unix::fs::symlink(outside, top.path().join("from/link")).unwrap();
            let swap = || {
                let (dir, link) = (top.path().join("from").join(swapped), top.path().join("from/link"));
                renameat_with(CWD, dir, CWD, link, RenameFlags::EXCHANGE).unwrap();
            };

            let root = Root::open(&top.path().join("from")).unwrap();
            let input = match foreign {
                true => Input::Directory { path: top.path().join("from"), ignore: None },
                false => Input::Stack(Stack::default()),
            };
            let tree = Source::open(Some(&input), Some(root.as_fd())).unwrap();
            let found = tree.find(BStr::new(source)).unwrap().unwrap();
            let implied = Attributes { mode: 0o755, uid: 0, gid: 0, mtime: NO_TIME };
            let mut writer = TreeWriter::new(Root::open(&top.path().join("to")).unwrap(), implied);
            let rules = Rules::default();
            let mut copier = Copier::new(&tree, &rules, &mut writer);
            let selection = Selection::new(None, &[]).unwrap();
            let result = match before {
                None => {
                    swap();
                    copier.copy(&found, &selection, BStr::new("file"))
                }
                Some(before) => walk(&tree, &found, &selection, &mut Swapping { before, swap: &swap, inner: copier }),
            };
            let what = format!("{source}: {swapped} before {before:?}: {result:?}");
            assert_eq!(result.is_err(), error, "{what}");
            let copied = list(&top.path().join("to"), false);
            assert!(
                copied.iter().all(|line| !line.contains("outside") || line.starts_with("link")),
                "{what}: {copied:?}"
            );
        }
    }
}
