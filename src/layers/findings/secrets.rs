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
        // The first layer that has it.
        if let Some(version) = image.tree.versions(node).filter(has_content).last() {
            add(&path, false, version.layer, removed(image.tree, path.as_ref()));
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

/// Whether a name can be one of the table's: what most names are not.
fn is_secret(name: &BStr) -> bool {
    rules::SECRET_FILES.iter().any(|(_, it)| name == it.as_bytes()) || has_ending(name)
}

fn is_named(parent: &BStr, name: &BStr) -> bool {
    rules::SECRET_FILES.iter().any(|(dir, it)| name == it.as_bytes() && dir.is_none_or(|dir| parent == dir.as_bytes()))
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

/// Build arguments and variables whose names say what they are. Their values are not told.
pub(super) fn variables(made: &[Made<'_>], environment: &[String]) -> Vec<Finding> {
    let mut out = Vec::new();
    // A build argument is in the history of every RUN that follows: the first tells of it.
    let mut seen: BTreeSet<BString> = BTreeSet::new();
    for (layer, made) in made.iter().enumerate() {
        let mut names = secret_names(made.arguments.split_whitespace());
        names.retain(|name| seen.insert(name.clone()));
        if !names.is_empty() {
            let what = "build arguments that are secret by their names, in the image's history";
            out.push(variable_finding(what, names, Some(layer as u32)));
        }
    }
    let names = secret_names(environment.iter().map(String::as_str));
    if !names.is_empty() {
        let what = "variables that are secret by their names, in the image's configuration";
        out.push(variable_finding(what, names, None));
    }
    out
}

fn secret_names<'t>(words: impl Iterator<Item = &'t str>) -> Vec<BString> {
    let is_secret = |(name, value): &(&str, &str)| {
        let name = name.to_ascii_uppercase();
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name
            && !value.is_empty()
            && rules::SECRET_WORDS.iter().any(|word| name.contains(word))
            && !rules::SECRET_REFERENCES.iter().any(|end| name.ends_with(end))
    };
    let named = words.filter_map(|word| word.split_once('=')).filter(is_secret);
    named.map(|(name, _)| name.into()).collect::<BTreeSet<BString>>().into_iter().collect()
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
