//! Images as lists of lines, and what is found in them.

use super::super::packages::Manager;
use super::super::{ContentHash, Entry, Layer, Meta};
use super::*;
use std::sync::Arc;

/// `PATH SIZE [CONTENT]` with an owner behind an `@`; `-PATH` takes it away.
fn entry(line: &str) -> Entry {
    if let Some(path) = line.strip_prefix('-') {
        return Entry::Whiteout { path: path.into() };
    }
    let (line, uid) = line.split_once('@').unwrap_or((line, "0"));
    let words: Vec<&str> = line.split(' ').collect();
    let content = words.get(2).map(|it| ContentHash(it.parse().unwrap()));
    let meta = Meta { size: words[1].parse().unwrap(), uid: uid.parse().unwrap(), content, ..Meta::new(Kind::File) };
    Entry::Put { path: words[0].into(), meta, opaque: false }
}

/// A layer's instruction and its lines. A line `key PATH` says that a file is a key, `args A=B` what a RUN saw,
/// `says ARG A=B` what the history has before it, `package NAME SIZE` what is installed from now on; an instruction in
/// brackets is the base image's.
#[track_caller]
fn check(layers: &[(&str, &[&str])], environment: &[&str], expected: &[&str]) {
    let of = |prefix: &'static str, lines: &[&'static str]| -> Vec<&'static str> {
        lines.iter().filter_map(|line| line.strip_prefix(prefix)).collect()
    };
    let layers: Vec<(&'static str, Vec<&'static str>)> = layers
        .iter()
        .map(|(text, lines)| {
            let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
            (leak(text), lines.iter().map(|line| leak(line)).collect())
        })
        .collect();
    let marks = ["key ", "args ", "says ", "package "];
    let is_entry = |line: &&&str| !marks.iter().any(|mark| line.starts_with(mark));
    let stack = layers
        .iter()
        .map(|(_, lines)| Arc::new(Layer { entries: lines.iter().filter(is_entry).map(|line| entry(line)).collect() }));
    let tree = FileTree::merge(&stack.collect::<Vec<_>>());
    let keys: Vec<Vec<BString>> =
        layers.iter().map(|(_, lines)| of("key ", lines).into_iter().map(BString::from).collect()).collect();
    let package = |text: &str| {
        let (name, size) = text.split_once(' ').unwrap();
        let (manager, architecture, version) = (Manager::Dpkg, String::new(), String::new());
        Package { manager, name: name.into(), architecture, version, size: size.parse().unwrap() }
    };
    let mut installed: Vec<Package> = Vec::new();
    let databases: Vec<Vec<(BString, Vec<Package>)>> = layers
        .iter()
        .map(|(_, lines)| {
            let new: Vec<Package> = of("package ", lines).into_iter().map(package).collect();
            installed.extend(new.clone());
            if new.is_empty() { Vec::new() } else { vec![("var/lib/dpkg/status".into(), installed.clone())] }
        })
        .collect();
    let made: Vec<Made<'_>> = layers
        .iter()
        .enumerate()
        .map(|(index, (text, lines))| {
            let base = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
            Made {
                instruction: Some(base.unwrap_or(text)),
                arguments: of("args ", lines).first().copied().unwrap_or_default(),
                base: base.is_some(),
                keys: &keys[index],
                databases: &databases[index],
            }
        })
        .collect();
    let environment: Vec<String> = environment.iter().map(|it| it.to_string()).collect();
    let says = layers.iter().flat_map(|(_, lines)| of("says ", lines));
    let declared: Vec<String> = says.map(str::to_owned).collect();
    let shown = |it: &Finding| {
        let layer = |layer: Option<u32>| layer.map_or("-".to_owned(), |it| it.to_string());
        let examples: Vec<String> = it.examples.iter().map(|it| it.to_string()).collect();
        let (wrote, killed) = (layer(it.wrote), layer(it.killed));
        format!("{:?} {} {wrote}>{killed} {} {}", it.severity, it.rule.name(), it.bytes, examples.join(" "))
    };
    let found = findings(&tree, &Account::of(&tree), &made, &environment, &declared);
    assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), expected);
    assert!(found.iter().all(|it| !it.what.is_empty() && !it.mend.is_empty() && it.count > 0));
}

#[test]
fn what_package_managers_leave() {
    check(
        &[("RUN apt-get update", &["var/lib/apt/lists/a 400000", "var/lib/apt/lists/b 1", "usr/bin/x 999999"])],
        &[],
        &["Waste package-lists 0>- 400001 var/lib/apt/lists"],
    );
    check(
        &[("RUN a", &["root/.npm/_cacache/x 200000"]), ("RUN b", &["home/me/.cache/pip/y 300000"])],
        &[],
        &["Waste tool-cache 1>- 300000 home/me/.cache/pip", "Waste tool-cache 0>- 200000 root/.npm/_cacache"],
    );
    check(
        &[("RUN cargo build", &["src/target/CACHEDIR.TAG 177", "src/target/debug/x 5000000"])],
        &[],
        &["Waste tool-cache 0>- 5000177 src/target"],
    );
    // Little is nothing, and what the base has is its own.
    check(&[("RUN a", &["var/lib/apt/lists/a 4000"])], &[], &[]);
    check(&[("[ADD rootfs]", &["var/cache/apt/x 400000"])], &[], &["Hint package-lists 0>- 400000 var/cache/apt"]);
}

#[test]
fn what_belongs_to_the_project() {
    check(
        &[(
            "COPY . /app",
            &["app/.git/HEAD 20", "app/node_modules/a/x.js 300000", "app/node_modules/node_modules/y 1"],
        )],
        &[],
        &["Waste project-files 0>- 20 app/.git", "Hint copied-dependencies 0>- 300001 app/node_modules"],
    );
    // Whose it is does not change with the owner.
    check(
        &[
            ("COPY . /app", &["app/.git/HEAD 20 1", "app/node_modules/a 300000 2"]),
            ("RUN chown", &["app/.git/HEAD 20 1@7", "app/node_modules/a 300000 2@7"]),
            ("RUN chown", &["app/node_modules/a 300000 2@8"]),
        ],
        &[],
        &[
            "Waste rewritten-metadata 0>1 300020 app/node_modules/a app/.git/HEAD",
            "Waste rewritten-metadata 1>2 300000 app/node_modules/a",
            "Waste project-files 0>- 20 app/.git",
            "Hint copied-dependencies 0>- 300000 app/node_modules",
        ],
    );
    // Installed, not copied, or copied from where it was installed.
    check(&[("COPY --from=build /app /app", &["app/node_modules/a/x.js 300000"])], &[], &[]);
    check(&[("RUN npm ci", &["app/node_modules/a/x.js 300000"])], &[], &[]);
}

#[test]
fn what_builds_programs() {
    check(
        &[
            ("[ADD rootfs]", &["var/lib/dpkg/status 10", "package libc6 1000000", "package libc6-dev 200000"]),
            (
                "RUN apt-get install",
                &["var/lib/dpkg/status 20", "package gcc-12 50000000", "package curl 900000", "package make 1"],
            ),
        ],
        &[],
        &["Hint build-tools 1>- 50000001 gcc-12 make", "Hint build-tools 0>- 200000 libc6-dev"],
    );
    check(
        &[(
            "RUN a",
            &["usr/local/go/bin/go 10000000", "usr/lib/gcc/x/12/cc1 20000000", "usr/lib/jvm/java/jmods/a 300000"],
        )],
        &[],
        &[
            "Hint build-tools 0>- 20000000 usr/lib/gcc",
            "Hint build-tools 0>- 10000000 usr/local/go",
            "Hint build-tools 0>- 300000 usr/lib/jvm/java/jmods",
        ],
    );
}

#[test]
fn what_dies_in_later_layers() {
    let many: Vec<String> = (0..9).map(|number| format!("src/deep/f{number} 100000")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    check(
        &[("COPY . /src", &many), ("RUN rm -rf /src", &["-src"])],
        &[],
        &["Waste removed-later 0>1 900000 src/deep/"],
    );
    check(
        &[("COPY a /a", &["a 300000 1"]), ("RUN chown 7 /a", &["a 300000 1@7"]), ("RUN b", &["a 300001 2@7"])],
        &[],
        &["Waste rewritten-metadata 0>1 300000 a", "Waste overwritten-later 1>2 300000 a"],
    );
    check(&[("RUN a", &["a 300000 1", "a 300000 2"])], &[], &["Waste twice-in-layer 0>- 300000 a"]);
    check(&[("[ADD rootfs]", &["a 300000 1"]), ("RUN b", &["-a"])], &[], &["Hint removed-later 0>1 300000 a"]);
    // Whoever writes the base's files again could leave it.
    check(
        &[("[ADD rootfs]", &["a 300000 1"]), ("RUN chown 7 /a", &["a 300000 1@7"])],
        &[],
        &["Waste rewritten-metadata 0>1 300000 a"],
    );
}

#[test]
fn mends_fit_what_was_done() {
    let mend = |wrote: &'static str, before: &str, after: &[&str]| {
        let layers =
            [&[before][..], after].map(|lines| Arc::new(Layer { entries: lines.iter().map(|it| entry(it)).collect() }));
        let tree = FileTree::merge(&layers);
        let made = [Made { instruction: Some(wrote), ..Made::default() }, Made::default()];
        let found = findings(&tree, &Account::of(&tree), &made, &[], &[]);
        (found[0].what.clone(), found[0].mend.clone())
    };
    let (what, order) = mend("COPY a /a", "a 300000 1", &["a 300000 1@7"]);
    assert_eq!(what, "written again in a later layer for another owner, same content");
    assert!(order.contains("COPY --chown=…"), "{order}");
    let (what, order) = mend("RUN make", "a 300000 1", &["a 300000 1"]);
    assert_eq!(what, "written again in a later layer and the same in every way");
    assert!(order.contains("leave out what touches"), "{order}");
    let (what, order) = mend("COPY a /a", "a 300000 1", &["-a", "b 300000 1"]);
    assert_eq!(what, "written in one layer and moved in a later one, which holds it once more");
    assert_eq!(order, "COPY it to where it is in the end");
    assert_eq!(
        mend("COPY a /a", "a 300000 1", &["-a", "b 300000 2"]).0,
        "written in one layer and removed in a later one"
    );
    let lists = "var/lib/apt/lists/a";
    assert!(
        mend("RUN a", &format!("{lists} 300000 1"), &[&format!("-{lists}")]).1.contains("target=/var/lib/apt/lists")
    );
    assert!(mend("ADD a /a", "a 300000 1", &["-a"]).1.contains(".dockerignore"));
    assert!(mend("COPY --link --from=b a /a", "a 300000 1", &["-a"]).1.contains("where it is copied from"));
    assert!(mend("COPY a --from=b /a", "a 300000 1", &["-a"]).1.contains(".dockerignore"));
}

#[test]
fn secrets_in_any_layer() {
    check(
        &[
            ("COPY id /root/.ssh/", &["root/.ssh/id_rsa 1700", "key root/.ssh/id_rsa"]),
            (
                "COPY . /app",
                &["app/.env 12", "app/tests/key.pem 1700", "key app/tests/key.pem", "app/.aws/credentials 7"],
            ),
            ("RUN rm", &["-root/.ssh/id_rsa", "app/cert.p12 9", "app/credentials 9", "app/empty/.env 0"]),
            ("RUN chown 7 /app/.env", &["app/.env 12 1@7"]),
        ],
        &[],
        &[
            "Danger secret 0>2 0 root/.ssh/id_rsa",
            "Danger secret 1>- 0 app/.aws/credentials app/.env",
            "Danger secret 2>- 0 app/cert.p12",
            "Danger secret 3>- 0 app/.env",
            "Hint secret 1>- 0 app/tests/key.pem",
        ],
    );
}

#[test]
fn secrets_by_the_names_of_their_files() {
    let check = |path: &'static str, expected: &[&str]| check(&[("COPY . /", &[&format!("{path} 9")])], &[], expected);
    check("app/.env.production", &["Danger secret 0>- 0 app/.env.production"]);
    check("app/.env.local", &["Danger secret 0>- 0 app/.env.local"]);
    ["app/.env.example", "app/.env.production.sample", "app/.env.", "app/x.env.y"]
        .into_iter()
        .for_each(|it| check(it, &[]));
    check("root/.cargo/credentials", &["Danger secret 0>- 0 root/.cargo/credentials"]);
    check("app/config/master.key", &["Danger secret 0>- 0 app/config/master.key"]);
    check("app/master.key", &[]);
    check("app/testing/x.p12", &["Hint secret 0>- 0 app/testing/x.p12"]);
}

#[test]
fn secrets_in_variables() {
    check(
        &[
            ("RUN a", &["args NPM_TOKEN=abc VERSION=2 PASSWORD_FILE=/run/x", "says ARG NPM_TOKEN=abc"]),
            ("RUN b", &["args EMPTY_SECRET= x NPM_TOKEN=abc", "says ARG DB_PASS=x", "says ENV DB_PASSWORD=old A=b"]),
            ("COPY c", &["says ENV GONE_SECRET=abc", "says ENV GONE_SECRET="]),
        ],
        &["PATH=/bin", "DB_PASSWORD=hunter2", "GPG_KEY=ABCD", "AWS_ACCESS_KEY_ID=AKIA"],
        &[
            "Danger secret-variable ->- 0 DB_PASS GONE_SECRET",
            "Danger secret-variable ->- 0 DB_PASSWORD",
            "Danger secret-variable 0>- 0 NPM_TOKEN",
        ],
    );
}

#[test]
fn names_and_values_of_variables() {
    let check = |variable: &str, is_secret: bool| {
        let name = variable.split_once('=').unwrap().0;
        let expected = [format!("Danger secret-variable ->- 0 {name}")];
        check(&[], &[variable], &if is_secret { vec![expected[0].as_str()] } else { Vec::new() });
    };
    check("TOKENIZERS_PARALLELISM=auto", false);
    check("MAX_TOKENS=abcd", false);
    check("NPM_TOKEN_2=abcd", true);
    check("MYSQL_ALLOW_EMPTY_PASSWORD=yes", false);
    check("PASSWORD_TRIES=3", false);
    check("PASSWORD=1234", true);
    check("OLDPWD=/app", false);
    check("PWD=/app", false);
    check("MYSQL_PWD=x", true);
    check("RAILS_MASTER_KEY=x", true);
    check("MONKEY_AUTH_KEYS=x", false);
    check("DATABASE_URL=postgres://me:hunter2@db/app", true);
    check("DATABASE_URL=postgres://me@db/app:80", false);
    check("DATABASE_URL=postgres://me:${PASSWORD}@db/app", false);
    check("PIP_INDEX_URL=https://pypi.org/a:b@c", false);
}

#[test]
fn large_duplicates() {
    check(&[("COPY a", &["a 2000000 1", "b 2000000 1", "c 10 2", "d 10 2"])], &[], &["Hint duplicate 0>- 2000000 a b"]);
}
