//! What the image is made of: bytes by stage, what was left behind, what is dead in it.

use crate::debug::StepStatus;
use crate::plan::StageId;
use crate::tui::app::App;
use crate::tui::build::Contribution;
use crate::tui::keymap::{Action, key_of};
use crate::tui::text;
use crate::tui::views::bar::bar;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// Draws it. Answers with the first row shown, how many fit and how many there are.
pub fn draw(app: &mut App, area: Rect, focused: bool, buffer: &mut Buffer) -> (usize, usize, usize) {
    if let Some(traced) = app.origins.traced().cloned() {
        super::put_line(buffer, area, 0, &summary(app, traced.contribution.total, usize::from(area.width)));
        let list = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
        let look = app.look.clone();
        app.origins.draw(&look, focused, list, buffer);
        let (top, total) = app.origins.extent();
        return (top, usize::from(area.height.saturating_sub(3)), total);
    }
    let lines = lines(app, usize::from(area.width));
    app.image_top = app.image_top.min(lines.len().saturating_sub(usize::from(area.height)));
    for (row, line) in lines.iter().skip(app.image_top).enumerate() {
        super::put_line(buffer, area, row, line);
    }
    (app.image_top, usize::from(area.height), lines.len())
}

pub fn lines(app: &App, width: usize) -> Vec<Line<'static>> {
    let look = &app.look;
    let Some(plan) = app.plan() else { return Vec::new() };
    let done = |stage: &StageId| {
        plan.stage(*stage).steps.iter().all(|step| matches!(app.build.status(step.id), StepStatus::Done(_)))
    };
    if !done(&plan.target) {
        let words = format!(
            " The image is known when {} is done: {} runs on to there.",
            text::sanitise(&plan.stage(plan.target).label()),
            key_of(Action::Continue)
        );
        return vec![Line::styled(words, look.muted)];
    }
    let parts = app.build.contributions();
    let total: u64 = parts.iter().map(|part| part.shipped).sum();
    let mut out = vec![summary(app, total, width)];
    out.push(Line::default());
    out.push(Line::styled(
        format!(" {:<14} {:>9}  {:<12} {:>9} {:>9} {:>9}", "stage", "shipped", "", "base", "built", "left"),
        look.muted,
    ));
    for part in &parts {
        out.push(stage(app, part, total, width));
    }
    out.push(Line::default());
    out.extend(heaviest(app, width));
    out
}

/// The image's size, and what of it is dead.
fn summary(app: &App, total: u64, width: usize) -> Line<'static> {
    let look = &app.look;
    let wide = width >= 110;
    // What has no room is left out as a whole.
    let fits =
        |spans: &[Span<'_>], more: &str| spans.iter().map(Span::width).sum::<usize>() + text::width(more) <= width;
    let mut spans = vec![
        Span::raw(" "),
        Span::styled(text::size(total), look.text.add_modifier(Modifier::BOLD)),
        Span::styled(" ship", look.muted),
    ];
    let left = format!("; {}", app.build.left_behind().words());
    match fits(&spans, &left) {
        true => spans.push(Span::styled(left, look.muted)),
        false => spans.push(Span::styled(look.signs.ellipsis, look.muted)),
    }
    let dead = match (app.waste, wide) {
        (None, _) => return Line::from(spans),
        (Some(0), true) => ("; nothing in the image is dead".to_owned(), String::new(), ""),
        (Some(0), false) => ("; nothing dead".to_owned(), String::new(), ""),
        (Some(waste), true) => {
            ("; ".to_owned(), text::size(waste), " in the image are overwritten or deleted by later layers")
        }
        (Some(waste), false) => ("; ".to_owned(), text::size(waste), " dead"),
    };
    if fits(&spans, &format!("{}{}{}", dead.0, dead.1, dead.2)) {
        spans.push(Span::styled(dead.0, look.muted));
        spans.push(Span::styled(dead.1, look.warning));
        spans.push(Span::styled(dead.2, look.muted));
    }
    Line::from(spans)
}

fn stage(app: &App, part: &Contribution, total: u64, width: usize) -> Line<'static> {
    let look = &app.look;
    let label = app.plan().map(|plan| plan.stage(part.stage).label()).unwrap_or_default();
    let label = text::sanitise(&label).into_owned();
    let name = text::clip(&label, 14, look.signs.ellipsis).into_owned();
    let pad = 14usize.saturating_sub(text::width(&name));
    let left = part.built.saturating_sub(part.shipped.min(part.built));
    let left = if part.in_image { 0 } else { left };
    let style = if part.shipped == 0 { look.muted } else { look.text };
    let mut spans = vec![Span::styled(format!(" {name}{} {:>9}  ", " ".repeat(pad), text::size(part.shipped)), style)];
    spans.extend(bar(look, part.shipped, total, 12));
    let (base, built, left) = (text::size(part.base), text::size(part.built), text::size(left));
    spans.push(Span::styled(format!(" {base:>9} {built:>9} {left:>9}"), look.muted));
    if width > 100 {
        let words = match (part.in_image, part.shipped) {
            (true, _) => "its layers are the image",
            (false, 0) => "nothing of it ships",
            (false, _) => "copied from",
        };
        spans.push(Span::styled(format!("   {words}"), look.muted));
    }
    Line::from(spans)
}

/// The instructions that weigh most in the image: the next thing to ask about.
fn heaviest(app: &App, width: usize) -> Vec<Line<'static>> {
    let look = &app.look;
    let Some(plan) = app.plan() else { return Vec::new() };
    let inside: Vec<StageId> =
        app.build.contributions().iter().filter(|part| part.in_image).map(|part| part.stage).collect();
    let steps = inside.iter().flat_map(|stage| &plan.stage(*stage).steps);
    let mut weighed: Vec<(u64, &crate::plan::Step)> =
        steps.filter_map(|step| Some((app.build.carried(step.id)?, step))).filter(|(bytes, _)| *bytes > 0).collect();
    weighed.sort_by_key(|(bytes, step)| (std::cmp::Reverse(*bytes), step.id));
    let mut out = Vec::new();
    if !weighed.is_empty() {
        out.push(Line::styled(" heaviest", look.muted));
    }
    for (bytes, step) in weighed.into_iter().take(5) {
        let line: (String, Style) = (format!("line {}", step.lines.start), look.muted);
        let words = text::sanitise(&step.text).into_owned();
        let mut spans = vec![Span::styled(format!(" {:>9}  ", text::size(bytes)), look.text)];
        let room = width.saturating_sub(14);
        spans.extend(super::justified(look, (&words, look.text), (&line.0, line.1), room));
        out.push(Line::from(spans));
    }
    out
}
