//! Arguments, environment and configuration as they are after an instruction, and where each was set.

use crate::image::config::RunConfig;
use crate::plan::{Origin, Plan, State, StepId, Variable, proxies};
use crate::tui::app::App;
use crate::tui::text;
use crate::tui::theme::Look;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use std::sync::Arc;

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `ENV`, `ARG`, or the instruction that sets it.
    pub kind: &'static str,
    pub name: String,
    pub value: String,
    /// `line 7`, `base`, `--build-arg`.
    pub origin: String,
    /// Whether the instruction changed it.
    pub fresh: bool,
}

/// Everything in force after a step.
pub fn entries(plan: &Plan, step: StepId) -> Vec<Entry> {
    let steps = &plan.stage(step.stage).steps;
    let Some(now) = steps.get(step.index as usize).map(|step| &step.state) else { return Vec::new() };
    let before = step.index.checked_sub(1).and_then(|at| steps.get(at as usize)).map(|step| &step.state);
    let mut out = Vec::new();
    let empty = State::default();
    let old = before.map_or(&empty, |it| it);
    for (kind, list, earlier) in [("ARG", &now.args, &old.args), ("ENV", &now.env, &old.env)] {
        for variable in list {
            let same = earlier.iter().any(|it| it.name == variable.name && it.value == variable.value);
            out.push(Entry {
                kind,
                name: variable.name.clone(),
                value: value(variable),
                origin: origin(&variable.origin),
                fresh: before.is_some() && !same,
            });
        }
    }
    let states: Vec<(u32, &Arc<State>)> =
        steps.iter().take(step.index as usize + 1).map(|step| (step.lines.start, &step.state)).collect();
    for (kind, read) in SETTINGS {
        let value = read(&now.image.config, now);
        if value.is_empty() {
            continue;
        }
        out.push(Entry {
            kind,
            name: String::new(),
            origin: set_at(&states, &value, *read),
            fresh: before.is_some_and(|before| read(&before.image.config, before) != value),
            value,
        });
    }
    out
}

fn value(variable: &Variable) -> String {
    match &variable.value {
        Some(value) if proxies::is_proxy(&variable.name) => proxies::shown(value).into_owned(),
        Some(value) => value.clone(),
        None => "(unset)".to_owned(),
    }
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Base => "base".to_owned(),
        Origin::Line(line) => format!("line {line}"),
        Origin::BuildArg(_) => "--build-arg".to_owned(),
        Origin::Predefined => "predefined".to_owned(),
    }
}

type Read = fn(&RunConfig, &State) -> String;

/// What an image is configured to do, apart from its variables.
const SETTINGS: &[(&str, Read)] = &[
    ("USER", |config, _| if config.user.is_empty() { "root".to_owned() } else { config.user.clone() }),
    ("WORKDIR", |config, _| if config.working_dir.is_empty() { "/".to_owned() } else { config.working_dir.clone() }),
    ("SHELL", |_, state| words(&state.shell)),
    ("ENTRYPOINT", |config, _| config.entrypoint.as_deref().map(words).unwrap_or_default()),
    ("CMD", |config, _| config.cmd.as_deref().map(words).unwrap_or_default()),
    ("EXPOSE", |config, _| config.exposed_ports.keys().cloned().collect::<Vec<_>>().join(" ")),
    ("VOLUME", |config, _| config.volumes.keys().cloned().collect::<Vec<_>>().join(" ")),
    ("LABEL", |config, _| {
        config.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }),
    ("STOPSIGNAL", |config, _| config.stop_signal.clone()),
    ("HEALTHCHECK", |config, _| config.healthcheck.as_ref().map(|it| words(&it.test)).unwrap_or_default()),
    ("ONBUILD", |config, _| config.on_build.join("; ")),
];

/// As in a Dockerfile's exec form.
fn words(words: &[String]) -> String {
    let quoted = words.iter().map(|word| serde_json::Value::from(word.as_str()).to_string());
    format!("[{}]", quoted.collect::<Vec<_>>().join(", "))
}

/// The line of the last step that changed a setting to what it is.
fn set_at(states: &[(u32, &Arc<State>)], value: &str, read: Read) -> String {
    let differs = |state: &Arc<State>| read(&state.image.config, state) != value;
    match states.iter().rposition(|(_, state)| differs(state)) {
        Some(at) => states.get(at + 1).map(|(line, _)| format!("line {line}")).unwrap_or_default(),
        None => "base".to_owned(),
    }
}

pub fn title(app: &App) -> String {
    match (app.plan(), app.variables_step()) {
        (Some(plan), Some(step)) => format!("after {}:{}", plan.stage(step.stage).label(), step.index),
        _ => String::new(),
    }
}

/// Draws the list. Answers with how many lines it has.
pub fn draw(app: &mut App, area: Rect, buffer: &mut Buffer) -> usize {
    let look = app.look.clone();
    let entries = match (app.plan(), app.variables_step()) {
        (Some(plan), Some(step)) => entries(plan, step),
        _ => {
            let line = Line::styled(" nothing is set yet", look.muted);
            super::put_line(buffer, area, 0, &line);
            return 1;
        }
    };
    let height = usize::from(area.height);
    app.variables_top = app.variables_top.min(entries.len().saturating_sub(height));
    let seen = entries.iter().skip(app.variables_top).take(height);
    let names = entries.iter().map(|it| text::width(&text::sanitise(&it.name))).max().unwrap_or(0);
    let names = names.clamp(4, usize::from(area.width) / 3);
    let needle = app.needle.get(&crate::tui::app::PaneId::Variables).map(|it| it.to_lowercase());
    for (row, entry) in seen.enumerate() {
        super::put_line(buffer, area, row, &line(&look, entry, names, usize::from(area.width)));
        if let Some(needle) = &needle {
            let line = Rect { y: area.y + row as u16, height: 1, ..area };
            super::mark_hits(&look, buffer, line, needle);
        }
    }
    entries.len()
}

/// Whether an entry is a hit of a search; `needle` in lower case.
pub fn holds(entry: &Entry, needle: &str) -> bool {
    !needle.is_empty()
        && [entry.kind, &entry.name, &entry.value].iter().any(|part| part.to_lowercase().contains(needle))
}

fn line(look: &Look, entry: &Entry, names: usize, width: usize) -> Line<'static> {
    let sign = if entry.fresh { look.signs.fresh } else { " " };
    let kind_style = look.muted;
    let value_style: Style = if entry.fresh { look.accent } else { look.text };
    let mut spans = vec![Span::styled(sign, look.accent)];
    let mut used = 1;
    let mut put = |spans: &mut Vec<Span<'static>>, content: &str, room: usize, style: Style| {
        let safe = text::sanitise(content);
        let shown = text::clip(&safe, room, look.signs.ellipsis).into_owned();
        let pad = room.saturating_sub(text::width(&shown)) + 1;
        used += text::width(&shown) + pad;
        spans.push(Span::styled(shown, style));
        spans.push(Span::raw(" ".repeat(pad)));
    };
    match entry.name.is_empty() {
        // A setting's name takes the place of a variable's.
        true => put(&mut spans, entry.kind, 4 + names, kind_style),
        false => {
            put(&mut spans, entry.kind, 3, kind_style);
            put(&mut spans, &entry.name, names, look.variable);
        }
    }
    let room = width.saturating_sub(used + 1);
    let origin = if room > 28 { entry.origin.clone() } else { entry.origin.replace("line ", ":") };
    let value = text::sanitise(&entry.value).into_owned();
    spans.extend(super::justified(look, (&value, value_style), (&origin, look.muted), room));
    Line::from(spans)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    /// After a step: kind, name, value, origin, and `+` for what it changed.
    fn check(stage: u32, index: u32, expected: &[&str]) {
        let plan = fixture::hello();
        let shown: Vec<String> = entries(&plan, fixture::id(stage, index))
            .iter()
            .filter(|it| it.name != "PATH")
            .map(|it| {
                let sign = if it.fresh { "+" } else { "" };
                [sign, it.kind, &it.name, &it.value, &it.origin].join(" ").trim().replace("  ", " ")
            })
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_in_force_and_since_when() {
        check(
            0,
            0,
            &["USER root base", "WORKDIR / base", "SHELL [\"/bin/sh\", \"-c\"] base", "CMD [\"/bin/sh\"] base"],
        );
        check(
            0,
            1,
            &["USER root base", "+ WORKDIR /src line 4", "SHELL [\"/bin/sh\", \"-c\"] base", "CMD [\"/bin/sh\"] base"],
        );
        check(
            2,
            5,
            &[
                "ENV PORT 8080 line 17",
                "USER nobody line 16",
                "WORKDIR / base",
                "SHELL [\"/bin/sh\", \"-c\"] base",
                "+ CMD [\"server\"] line 18",
            ],
        );
    }
}
