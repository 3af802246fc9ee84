//! Keys, passwords and tokens, in any layer: what a later layer removes can still be had by everyone who has the image.

use super::*;

/// Files, by the layer, and whether a later one takes them away.
pub(super) fn files(image: &Image<'_>) -> Vec<Finding> {
    let mut groups: BTreeMap<(bool, bool, u32, Option<u32>), Vec<BString>> = BTreeMap::new();
    let mut known: BTreeSet<&BString> = BTreeSet::new();
    let mut add = |path: &BString, certain: bool, layer: u32, removed: Option<u32>| {
        groups.entry((certain, is_example(path.as_ref()), layer, removed)).or_default().push(path.clone());
    };
    for (layer, made) in image.made.iter().enumerate() {
        for path in made.keys {
            add(path, true, layer as u32, removed(image.tree, path.as_ref()));
            known.insert(path);
        }
    }
    for node in image.tree.ever() {
        if !is_secret(image.tree.name(node)) {
            continue;
        }
        let path = image.tree.path(node);
        let (parent, name) = split(path.as_ref());
        let parent = split(parent).1;
        if known.contains(&path) || !(is_named(parent, name) || has_ending(name)) {
            continue;
        }
        let has_content =
            |it: &super::super::Version<'_>| it.meta.is_some_and(|it| it.kind == Kind::File && it.size > 0);
        let mut layers: Vec<u32> = image.tree.versions(node).filter(has_content).map(|it| it.layer).collect();
        layers.dedup();
        for layer in layers {
            add(&path, false, layer, removed(image.tree, path.as_ref()));
        }
    }
    let finding = |((certain, example, layer, removed), mut paths): ((bool, bool, u32, Option<u32>), Vec<BString>)| {
        paths.sort();
        let what = if certain { "private keys" } else { "files that hold secrets, by their names" };
        let where_now = match (removed, example) {
            (Some(_), _) => ", removed in a later layer and shipped all the same",
            (None, false) => "",
            (None, true) => ", which may be examples",
        };
        Finding {
            rule: Rule::Secret,
            severity: if example || (!certain && removed.is_none() && image.made(layer).base) {
                Severity::Hint
            } else {
                Severity::Danger
            },
            what: format!("{what}{where_now}"),
            mend: "give it to the one RUN that needs it, with --mount=type=secret, and replace it: it is known now"
                .to_owned(),
            bytes: 0,
            count: paths.len() as u64,
            wrote: Some(layer),
            killed: removed,
            examples: paths.into_iter().take(MOST_PATHS).collect(),
        }
    };
    groups.into_iter().map(finding).collect()
}

/// Whether a name can be one of the tables': what most names are not.
fn is_secret(name: &BStr) -> bool {
    rules::SECRET_FILES.iter().any(|(_, it)| name == it.as_bytes()) || has_ending(name) || has_variables(name)
}

fn is_named(parent: &BStr, name: &BStr) -> bool {
    let is_it =
        |(dir, it): &(Option<&str>, &str)| name == it.as_bytes() && dir.is_none_or(|dir| parent == dir.as_bytes());
    rules::SECRET_FILES.iter().any(is_it) || has_variables(name)
}

/// `.env.production`
fn has_variables(name: &BStr) -> bool {
    let Some(of) = name.strip_prefix(b".env.") else { return false };
    let last = of.rsplit_str(".").next().unwrap_or_default();
    !last.is_empty() && !rules::TEMPLATES.iter().any(|it| last == it.as_bytes())
}

fn has_ending(name: &BStr) -> bool {
    rules::SECRET_ENDINGS.iter().any(|ending| name.len() > ending.len() && name.ends_with(ending.as_bytes()))
}

fn is_example(path: &BStr) -> bool {
    let (dirs, _) = split(path);
    dirs.split_str("/").any(|name| rules::EXAMPLES.iter().any(|it| name == it.as_bytes()))
}

/// The layer that took a path away, if it is not there in the end.
fn removed(tree: &FileTree, path: &BStr) -> Option<u32> {
    let mut at = FileTree::ROOT;
    for name in path.split_str("/") {
        at = tree.child_ever(at, name.into())?;
    }
    tree.versions(at).next().filter(|version| version.meta.is_none()).map(|version| version.layer)
}

/// Build arguments and variables whose names or values say what they are. Their values are not told. `declared` are the
/// ARG and ENV of the history, also those that are nothing in the end.
pub(super) fn variables(made: &[Made<'_>], environment: &[String], declared: &[String]) -> Vec<Finding> {
    let mut out = Vec::new();
    // A build argument is in the history of every RUN that follows: the first tells of it.
    let mut seen: BTreeSet<BString> = BTreeSet::new();
    let mut tell = |names: BTreeSet<BString>, what: &str, wrote: Option<u32>| {
        let names: Vec<BString> = names.into_iter().filter(|name| seen.insert(name.clone())).collect();
        if !names.is_empty() {
            out.push(variable_finding(&format!("{what} that are secret by their names or values"), names, wrote));
        }
    };
    tell(secret_names(environment.iter().map(String::as_str)), "variables in the image's configuration", None);
    for (layer, made) in made.iter().enumerate() {
        let names = secret_names(made.arguments.split_whitespace());
        tell(names, "build arguments in the image's history", Some(layer as u32));
    }
    let declared = declared.iter().flat_map(|text| text.split_whitespace().skip(1));
    tell(secret_names(declared), "ARG and ENV in the image's history", None);
    out
}

fn secret_names<'t>(words: impl Iterator<Item = &'t str>) -> BTreeSet<BString> {
    let is_secret = |(name, value): &(&str, &str)| {
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name && (is_secret_name(&name.to_ascii_uppercase()) && !is_harmless(value) || has_password(value))
    };
    words.filter_map(|word| word.split_once('=')).filter(is_secret).map(|(name, _)| name.into()).collect()
}

fn is_secret_name(name: &str) -> bool {
    let whole = |word: &&str| format!("_{name}_").contains(&format!("_{word}_"));
    let numbered = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
    let says_so = rules::SECRET_WORDS.iter().any(whole)
        || rules::SECRET_PARTS.iter().any(|part| name.contains(part))
        || rules::SECRET_NAME_ENDS.iter().any(|end| numbered.ends_with(end));
    says_so && !rules::SECRET_REFERENCES.iter().any(|end| name.ends_with(end))
}

/// What turns something on or off, or is a small number.
fn is_harmless(value: &str) -> bool {
    let value = value.trim_matches(['"', '\'']).to_ascii_lowercase();
    let is_small = value.len() < 4 && value.bytes().all(|byte| byte.is_ascii_digit());
    is_small || rules::SWITCHES.contains(&value.as_str())
}

/// `scheme://user:password@host`
fn has_password(value: &str) -> bool {
    let mut addresses = value.split("://").skip(1).map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    addresses.any(|authority| {
        let user = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
        user.is_some_and(|(_, password)| !password.is_empty() && !password.starts_with('$'))
    })
}

fn variable_finding(what: &str, names: Vec<BString>, wrote: Option<u32>) -> Finding {
    Finding {
        rule: Rule::SecretVariable,
        severity: Severity::Danger,
        what: what.to_owned(),
        mend: "give it to the one RUN that needs it, with --mount=type=secret, or to the container when it runs"
            .to_owned(),
        bytes: 0,
        count: names.len() as u64,
        wrote,
        killed: None,
        examples: names.into_iter().take(MOST_PATHS).collect(),
    }
}
