//! Which instruction made which layer, as far as an image says so.
//!
//! Source: OCI image-spec `config.md` ("history"), and what builders write into `created_by`: Docker's classic
//! builder (`/bin/sh -c #(nop) …`), BuildKit (`RUN /bin/sh -c … # buildkit`), buildah (several instructions in
//! one layer) and kaniko (the instruction as it stands).

use super::config::{History, ImageConfig};

/// An entry of an image's history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Instruction {
    /// As in a Dockerfile: `RUN make`, without the shell and the builder's marks. May have several lines.
    pub text: String,
    /// As the builder wrote it (`created_by`).
    pub raw: String,
    /// Build arguments that a RUN saw, `NAME=value`, as one text: values may hold blanks.
    pub args: String,
    /// RFC 3339.
    pub created: Option<String>,
    /// Instructions before it that made no layer of their own and change files: they are in this layer too.
    pub with: Vec<String>,
}

/// The instruction of each layer, bottom first; `None` where the image does not say. Entries that made a layer
/// belong to the layers in order, also where there are more or fewer than layers.
pub fn of_layers(config: &ImageConfig) -> Vec<Option<Instruction>> {
    let mut out = Vec::new();
    let mut with = Vec::new();
    for entry in &config.history {
        let mut instruction = instruction(entry);
        if entry.empty_layer {
            // Builders that join layers mark all entries but the last as empty.
            if ["RUN ", "COPY ", "ADD "].iter().any(|keyword| instruction.text.starts_with(keyword)) {
                with.push(instruction.text);
            }
            continue;
        }
        instruction.with = std::mem::take(&mut with);
        let says_something = !instruction.text.is_empty() || !entry.comment.is_empty();
        if instruction.text.is_empty() {
            instruction.text = entry.comment.clone();
        }
        out.push(says_something.then_some(instruction));
    }
    out.resize(config.rootfs.diff_ids.len(), None);
    out
}

/// Every ARG and ENV, in a Dockerfile's words: what they say stays in the image, whatever becomes of it later.
pub fn declared(config: &ImageConfig) -> Vec<String> {
    let texts = config.history.iter().map(|entry| instruction(entry).text);
    texts.filter(|text| ["ARG ", "ENV "].iter().any(|keyword| text.starts_with(keyword))).collect()
}

/// Gives each entry without a time one, so that it does not depend on when the image is written: an instruction that made a
/// layer has the layer's (`layers`, bottom first), another one that of the first layer since, or else of the one before.
/// As BuildKit's exporter (`normalizeLayersAndHistory`).
pub fn set_times(history: &mut [History], layers: &[Option<String>]) {
    for (entry, made) in history.iter_mut().filter(|entry| !entry.empty_layer).zip(layers) {
        entry.created = entry.created.take().or_else(|| made.clone());
    }
    let Some(first) = history.iter().position(|entry| entry.created.is_none()) else { return };
    let (before, rest) = history.split_at_mut(first);
    let later = rest.iter().find_map(|entry| entry.created.clone());
    let mut latest = later.or_else(|| before.last().and_then(|entry| entry.created.clone()));
    for entry in rest {
        match &entry.created {
            Some(time) => latest = Some(time.clone()),
            None => entry.created = latest.clone(),
        }
    }
}

/// What an entry says, in a Dockerfile's words.
pub fn instruction(entry: &History) -> Instruction {
    let raw = entry.created_by.as_str();
    let (text, args) = cleaned(raw);
    Instruction { text, raw: raw.to_owned(), args, created: entry.created.clone(), with: Vec::new() }
}

fn cleaned(raw: &str) -> (String, String) {
    let plain = |text: &str| (text.trim().to_owned(), String::new());
    let text = raw.trim();
    if let Some((shell, rest)) = text.split_once("#(nop)")
        && is_shell(shell)
    {
        return plain(rest);
    }
    if let Some(text) = text.strip_suffix("# buildkit") {
        return match text.strip_prefix("RUN ") {
            Some(command) => run(command),
            None => plain(text),
        };
    }
    // Keywords stand in front of what nothing has been put before.
    let keyword = text.split_whitespace().next().unwrap_or_default();
    if INSTRUCTIONS.contains(&keyword) {
        return match (keyword, text.strip_prefix("RUN ")) {
            ("RUN", Some(command)) if arguments(command.trim_start()).is_some() => run(command),
            _ => plain(text),
        };
    }
    if arguments(text).is_some() || command(text).is_some() {
        return run(text);
    }
    plain(text)
}

const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// A command with its arguments and its shell in front, as a RUN without them.
fn run(text: &str) -> (String, String) {
    let text = text.trim();
    let (args, rest) = arguments(text).unwrap_or(("", text));
    let command = command(rest).unwrap_or(rest);
    (format!("RUN {}", command.trim()), args.to_owned())
}

/// `|2 A=x B=y /bin/sh -c …`: the arguments as one text, and what follows. Their values may hold blanks, so they
/// end where the shell begins.
fn arguments(text: &str) -> Option<(&str, &str)> {
    let (count, rest) = text.strip_prefix('|')?.split_once(' ')?;
    let count: usize = count.parse().ok()?;
    if count == 0 {
        return Some(("", rest));
    }
    let starts = rest.match_indices(' ').map(|(at, _)| at + 1);
    let shell = starts.into_iter().find(|at| command(&rest[*at..]).is_some());
    match shell {
        Some(at) => Some((rest[..at].trim_end(), &rest[at..])),
        // No shell: a command in exec form. Its arguments are as many words as there should be.
        None => {
            let at = rest.match_indices(' ').nth(count - 1).map_or(rest.len(), |(at, _)| at);
            Some((&rest[..at], rest[at..].trim_start()))
        }
    }
}

/// What stands behind `/bin/sh -c`, or another shell with its options.
fn command(text: &str) -> Option<&str> {
    for marker in [" -c ", " /S /C ", " /c ", " -Command "] {
        if let Some((shell, command)) = text.split_once(marker)
            && is_shell(shell)
        {
            return Some(command);
        }
    }
    None
}

/// A shell's path, and options.
fn is_shell(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let Some(program) = words.next() else { return false };
    let name = program.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = name.strip_suffix(".exe").unwrap_or(name);
    let known = ["sh", "ash", "bash", "dash", "zsh", "ksh", "busybox", "cmd", "powershell", "pwsh"];
    // `/bin/bash -o pipefail -c`: an option's value is a word too.
    let options = words.all(|word| word.starts_with(['-', '/']) || word == "pipefail" || word == "sh");
    known.contains(&name) && options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::Digest;

    #[test]
    fn created_by_of_all_builders() {
        let check = |raw: &str, expected: &str| assert_eq!(cleaned(raw).0, expected, "{raw:?}");
        // Docker's classic builder.
        check("/bin/sh -c #(nop) COPY file:1f in /app ", "COPY file:1f in /app");
        check("/bin/sh -c #(nop)  CMD [\"/bin/sh\"]", "CMD [\"/bin/sh\"]");
        check("/bin/sh -c apt-get update", "RUN apt-get update");
        check("|1 V=2 /bin/sh -c make V=$V", "RUN make V=$V");
        check("/bin/sh -c echo '#(nop)'", "RUN echo '#(nop)'");
        check("/bin/bash -o pipefail -c a | b", "RUN a | b");
        check("cmd /S /C dir", "RUN dir");
        // BuildKit.
        check("RUN /bin/sh -c apk add git # buildkit", "RUN apk add git");
        check("RUN |2 A=x y B= /bin/sh -c make # buildkit", "RUN make");
        check("COPY /out /app # buildkit", "COPY /out /app");
        check("RUN /bin/sh -c <<EOF\nset -e\nmake\nEOF # buildkit", "RUN <<EOF\nset -e\nmake\nEOF");
        check("RUN |1 A=x /app --init # buildkit", "RUN /app --init");
        check("ENV PATH=/bin", "ENV PATH=/bin");
        check("RUN make # a comment", "RUN make # a comment");
        // Kaniko.
        check("RUN apk add git", "RUN apk add git");
        check("COPY . .", "COPY . .");
        // What is no Dockerfile's.
        check("bazel build ...", "bazel build ...");
        check("", "");
    }

    #[test]
    fn build_arguments_are_kept_apart() {
        let check = |raw: &str, expected: &str| assert_eq!(cleaned(raw).1, expected, "{raw:?}");
        check("|1 V=2 /bin/sh -c make", "V=2");
        check("RUN |2 A=x y B= /bin/sh -c make # buildkit", "A=x y B=");
        check("RUN |1 A=x /app --init # buildkit", "A=x");
        check("|0 /bin/sh -c make", "");
    }

    #[test]
    fn entries_have_the_times_of_their_layers() {
        /// Entries by their times, `?` for none, `-` in front of those that made no layer.
        #[track_caller]
        fn check(history: &str, layers: &str, expected: &str) {
            let time = |word: &str| (word != "?").then(|| word.to_owned());
            let entry = |word: &str| History {
                created: time(word.trim_start_matches('-')),
                empty_layer: word.starts_with('-'),
                ..History::default()
            };
            let mut history: Vec<History> = history.split(' ').map(entry).collect();
            let layers: Vec<_> = layers.split_whitespace().map(time).collect();
            set_times(&mut history, &layers);
            let times: Vec<&str> = history.iter().map(|it| it.created.as_deref().unwrap_or("?")).collect();
            assert_eq!(times.join(" "), expected);
        }
        check("base ?", "? made", "base made");
        check("base -? ? -? ? -?", "? one two", "base one one one two two");
        check("base -? -?", "?", "base base base");
        check("-? -?", "", "? ?");
        check("base -epoch epoch", "? made", "base epoch epoch");
        check("? ?", "? made", "made made");
        check("? ?", "made", "made made");
    }

    /// A history of texts, `-` in front of those that made no layer; `?` stands for a layer without instruction.
    fn check(history: &[&str], layers: usize, expected: &[&str]) {
        let entry = |text: &&str| History {
            created_by: text.trim_start_matches('-').to_owned(),
            empty_layer: text.starts_with('-'),
            ..History::default()
        };
        let mut config = ImageConfig { history: history.iter().map(entry).collect(), ..ImageConfig::default() };
        config.rootfs.diff_ids = (0..layers).map(|number| Digest::of(&[number as u8])).collect();
        let shown = |it: Option<Instruction>| match it {
            Some(it) if it.with.is_empty() => it.text,
            Some(it) => format!("{} with {}", it.text, it.with.join(", ")),
            None => "?".to_owned(),
        };
        assert_eq!(of_layers(&config).into_iter().map(shown).collect::<Vec<_>>(), expected, "{history:?}");
    }

    #[test]
    fn layers_get_the_entries_that_made_them() {
        check(&["ADD a /", "-ENV A=b", "RUN x"], 2, &["ADD a /", "RUN x"]);
        check(&[], 2, &["?", "?"]);
        check(&["ADD a /"], 2, &["ADD a /", "?"]);
        check(&["ADD a /", "RUN x", "RUN y"], 2, &["ADD a /", "RUN x"]);
        check(&["ADD a /", "-RUN x", "-ENV A=b", "-COPY c d", "RUN y"], 2, &["ADD a /", "RUN y with RUN x, COPY c d"]);
        check(&["", "RUN x"], 2, &["?", "RUN x"]);
        check(&["-CMD x"], 0, &[]);
    }
}
