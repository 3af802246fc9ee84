//! The stage graph: bases and stages as boxes, what each reads as lines, the bytes on them.

use crate::debug::StepStatus;
use crate::plan::{EdgeKind, FileOrigin, Plan, StageId, StepId};
use crate::tui::app::{App, PaneId};
use crate::tui::graph::{self, DOWN, LEFT, Label, Layout, Link, RIGHT, Shape, Spot, UP};
use crate::tui::keymap::Motion;
use crate::tui::signs::Lines;
use crate::tui::text;
use crate::tui::theme::Look;
use crate::tui::views::{bar::bar, wire_sign};
use crate::tui::widgets::scroll::next_hit;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use std::collections::BTreeMap;

/// Room beside a line for the bytes that were copied: `999.9 MB`.
const LABEL: usize = 8;
/// Room for the second line of a stage's box.
const STATE: usize = 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Stage(StageId),
    Image(String),
}

/// What is copied along one line of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flow {
    steps: Vec<StepId>,
    /// Whether anything is copied; a base alone carries no bytes of its own.
    copies: bool,
}

/// What the pane keeps.
#[derive(Debug, Default)]
pub struct Stages {
    nodes: Vec<Node>,
    links: Vec<Link>,
    flows: Vec<Flow>,
    layout: Layout,
    selected: usize,
    /// Whether the user has moved the selection since the build stopped last.
    pub moved: bool,
    pub left: usize,
    pub top: usize,
}

impl Stages {
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn selected(&self) -> Option<&Node> {
        self.nodes.get(self.selected)
    }

    pub fn lay_out(&mut self, plan: &Plan, width: usize) {
        let before = self.selected().cloned();
        self.nodes = plan.stages.iter().map(|stage| Node::Stage(stage.id)).collect();
        let mut images: BTreeMap<String, usize> = BTreeMap::new();
        let mut flows: BTreeMap<(usize, usize), Flow> = BTreeMap::new();
        for stage in &plan.stages {
            for edge in &stage.needs {
                let from = match &edge.origin {
                    FileOrigin::Stage(source) => source.0 as usize,
                    FileOrigin::Image(image) => *images.entry(image.clone()).or_insert_with(|| {
                        self.nodes.push(Node::Image(image.clone()));
                        self.nodes.len() - 1
                    }),
                    FileOrigin::Context { .. } | FileOrigin::Scratch => continue,
                };
                let flow =
                    flows.entry((from, stage.id.0 as usize)).or_insert(Flow { steps: Vec::new(), copies: false });
                if edge.kind == EdgeKind::Copy {
                    flow.steps.push(edge.step);
                }
                flow.copies |= edge.kind == EdgeKind::Copy;
            }
        }
        let links = flows.iter().filter(|((from, to), _)| from != to);
        (self.links, self.flows) = links
            .map(|((from, to), flow)| {
                let label = if flow.copies { LABEL } else { 0 };
                (Link { from: *from, to: *to, label }, flow.clone())
            })
            .unzip();
        let most = width.max(STATE + 6);
        let runs = |at: usize| plan.stages.get(at).is_some_and(|stage| plan.order.contains(&stage.id));
        let read = |at: usize| self.links.iter().any(|link| link.from == at && runs(link.to));
        let shapes: Vec<Shape> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(at, node)| Shape { apart: !runs(at) && !read(at), ..shape(plan, node, most) })
            .collect();
        self.layout = graph::layout(&shapes, &self.links, width);
        let kept = before.and_then(|before| self.nodes.iter().position(|node| *node == before));
        self.selected = kept.unwrap_or(0);
    }

    pub fn select_stage(&mut self, stage: StageId) {
        if let Some(at) = self.nodes.iter().position(|node| *node == Node::Stage(stage)) {
            self.selected = at;
        }
    }

    /// To the nearest box in a direction.
    pub fn go(&mut self, motion: Motion) {
        let Some(here) = self.layout.boxes.get(self.selected).copied() else { return };
        self.moved = true;
        let middle = |spot: &Spot| (spot.x + spot.width / 2) as i64;
        let sideways = |spot: &Spot| (middle(spot) - middle(&here)).abs();
        let boxes = || self.layout.boxes.iter().enumerate();
        let found = match motion {
            Motion::Up => boxes().filter(|(_, it)| it.y < here.y).min_by_key(|(_, it)| (here.y - it.y, sideways(it))),
            Motion::Down => boxes().filter(|(_, it)| it.y > here.y).min_by_key(|(_, it)| (it.y - here.y, sideways(it))),
            Motion::Left => boxes().filter(|(_, it)| it.y == here.y && it.x < here.x).max_by_key(|(_, it)| it.x),
            Motion::Right => boxes().filter(|(_, it)| it.y == here.y && it.x > here.x).min_by_key(|(_, it)| it.x),
            Motion::First | Motion::PageUp => boxes().min_by_key(|(_, it)| (it.y, it.x)),
            Motion::Last | Motion::PageDown => boxes().max_by_key(|(_, it)| (it.y, it.x)),
        };
        if let Some((at, _)) = found {
            self.selected = at;
        }
    }

    /// Selects the box at a place of the pane's content.
    pub fn click(&mut self, x: usize, y: usize) -> bool {
        let (x, y) = (x + self.left, y + self.top);
        let holds =
            |spot: &Spot| (spot.x..spot.x + spot.width).contains(&x) && (spot.y..spot.y + spot.height).contains(&y);
        match self.layout.boxes.iter().position(holds) {
            Some(at) => {
                self.selected = at;
                self.moved = true;
                true
            }
            None => false,
        }
    }

    /// Selects the next box whose name contains the text.
    pub fn find(&mut self, plan: &Plan, needle: &str, forward: Option<bool>) -> usize {
        let needle = needle.to_lowercase();
        let holds = |node: &Node| name(plan, node).to_lowercase().contains(&needle);
        let hits: Vec<usize> = (0..self.nodes.len()).filter(|at| holds(&self.nodes[*at])).collect();
        if let Some(at) = next_hit(&hits, self.selected, forward) {
            self.selected = at;
            self.moved = true;
        }
        hits.len()
    }

    /// Scrolls so that the selected box is seen, with what it hangs on if there is room.
    fn follow(&mut self, width: usize, height: usize) {
        let Some(spot) = self.layout.boxes.get(self.selected) else { return };
        let fit = |from: usize, at: usize, length: usize, room: usize, total: usize| {
            let least = (at + length).saturating_sub(room);
            let from = if from > at { at } else { from.max(least) };
            from.min(total.saturating_sub(room))
        };
        self.top = fit(self.top, spot.y, spot.height, height, self.layout.height);
        self.left = fit(self.left, spot.x, spot.width, width, self.layout.width);
    }
}

fn name(plan: &Plan, node: &Node) -> String {
    match node {
        Node::Stage(stage) => plan.stage(*stage).label(),
        Node::Image(image) => image.clone(),
    }
}

fn shape(plan: &Plan, node: &Node, most: usize) -> Shape {
    let label = text::width(&text::sanitise(&name(plan, node)));
    match node {
        Node::Stage(_) => Shape { width: ((label + 2).max(STATE) + 4).min(most), height: 4, low: false, apart: false },
        Node::Image(_) => Shape { width: (label + 4).min(most), height: 3, low: true, apart: false },
    }
}

pub fn draw(app: &mut App, area: Rect, buffer: &mut Buffer) {
    let Some(plan) = app.build.drawn().cloned() else { return };
    let inner = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
    app.stages.follow(usize::from(inner.width), usize::from(inner.height));
    let canvas = Canvas { area: inner, left: app.stages.left, top: app.stages.top };
    let view = View { app, plan: &plan, canvas };
    view.wires(buffer);
    view.labels(buffer);
    for (at, node) in app.stages.nodes.iter().enumerate() {
        if view.canvas.shows(&app.stages.layout.boxes[at]) {
            view.node(at, node, buffer);
        }
    }
    view.ports(buffer);
}

/// The part of the drawing that is seen.
#[derive(Clone, Copy)]
struct Canvas {
    area: Rect,
    left: usize,
    top: usize,
}

impl Canvas {
    fn place(&self, x: usize, y: usize) -> Option<(u16, u16)> {
        let x = x.checked_sub(self.left).filter(|x| *x < usize::from(self.area.width))?;
        let y = y.checked_sub(self.top).filter(|y| *y < usize::from(self.area.height))?;
        Some((self.area.x + x as u16, self.area.y + y as u16))
    }

    fn shows(&self, spot: &Spot) -> bool {
        spot.y + spot.height > self.top && spot.y < self.top + usize::from(self.area.height)
    }

    fn put(&self, buffer: &mut Buffer, x: usize, y: usize, content: &str, style: Style) {
        let mut column = x;
        for c in content.chars() {
            let wide = text::width(c.encode_utf8(&mut [0; 4]));
            if wide > 0
                && let Some(place) = self.place(column, y)
                && self.place(column + wide - 1, y).is_some()
            {
                buffer[place].set_char(c).set_style(style);
            }
            column += wide;
        }
    }
}

struct View<'a> {
    app: &'a App,
    plan: &'a Plan,
    canvas: Canvas,
}

impl View<'_> {
    fn look(&self) -> &Look {
        &self.app.look
    }

    fn needed(&self, node: usize) -> bool {
        match &self.app.stages.nodes[node] {
            Node::Stage(stage) => self.plan.stage(*stage).needed,
            Node::Image(_) => self.app.stages.links.iter().any(|link| link.from == node && self.needed(link.to)),
        }
    }

    fn style(&self, needed: bool) -> (Style, &Lines) {
        match needed {
            true => (self.look().muted, &self.look().signs.lines),
            false => (self.look().border, &self.look().signs.dashed),
        }
    }

    /// Cells that are part of a box's edge are left for [`View::ports`].
    fn wires(&self, buffer: &mut Buffer) {
        let mut cells: BTreeMap<(usize, usize), (u8, bool)> = BTreeMap::new();
        let seen = |wire: &&graph::Wire| self.canvas.place(wire.x, wire.y).is_some();
        for wire in self.app.stages.layout.wires.iter().filter(seen) {
            let needed = wire.to.map_or_else(|| self.needed(wire.from), |to| self.needed(to));
            let cell = cells.entry((wire.y, wire.x)).or_insert((0, false));
            cell.0 |= wire.ways;
            cell.1 |= needed;
        }
        for ((y, x), (ways, needed)) in cells {
            let (style, lines) = self.style(needed);
            self.canvas.put(buffer, x, y, wire_sign(lines, ways), style);
        }
    }

    fn ports(&self, buffer: &mut Buffer) {
        let seen = |wire: &&graph::Wire| self.canvas.place(wire.x, wire.y).is_some();
        for wire in self.app.stages.layout.wires.iter().filter(seen) {
            let owner = |spot: &&Spot| {
                let edge = wire.y == spot.y || wire.y + 1 == spot.y + spot.height;
                edge && (spot.x..spot.x + spot.width).contains(&wire.x)
            };
            let is_port = wire.ways == (LEFT | RIGHT | UP) || wire.ways == (LEFT | RIGHT | DOWN);
            let Some(at) = self.app.stages.layout.boxes.iter().position(|spot| owner(&spot)).filter(|_| is_port) else {
                continue;
            };
            let (style, _) = self.style(self.needed(at));
            let style = if self.is_selected(at) { self.look().accent } else { style };
            self.canvas.put(buffer, wire.x, wire.y, wire_sign(&self.look().signs.lines, wire.ways), style);
        }
    }

    fn labels(&self, buffer: &mut Buffer) {
        for Label { link, x, y, left } in &self.app.stages.layout.labels {
            let flow = &self.app.stages.flows[*link];
            let known: Vec<u64> = flow.steps.iter().filter_map(|step| self.app.build.carried(*step)).collect();
            let needed = self.needed(self.app.stages.links[*link].to);
            let (content, style) = match (known.len() == flow.steps.len(), needed) {
                (true, _) => (text::size(known.iter().sum()), self.look().text),
                (false, true) => ("COPY".to_owned(), self.look().muted),
                (false, false) => ("COPY".to_owned(), self.look().border),
            };
            let pad = if *left { LABEL.saturating_sub(text::width(&content)) } else { 0 };
            self.canvas.put(buffer, x + pad, *y, &content, style);
        }
    }

    fn is_selected(&self, at: usize) -> bool {
        at == self.app.stages.selected && self.app.focus == PaneId::Stages
    }

    fn node(&self, at: usize, node: &Node, buffer: &mut Buffer) {
        let spot = self.app.stages.layout.boxes[at];
        let look = self.look();
        let needed = self.needed(at);
        let (border, lines) = self.style(needed);
        let border = if self.is_selected(at) { look.accent } else { border };
        let flat = lines.horizontal.repeat(spot.width.saturating_sub(2));
        let right = spot.x + spot.width - 1;
        let bottom = spot.y + spot.height - 1;
        self.canvas.put(buffer, spot.x, spot.y, &format!("{}{flat}{}", lines.down_right, lines.down_left), border);
        self.canvas.put(buffer, spot.x, bottom, &format!("{}{flat}{}", lines.up_right, lines.up_left), border);
        for y in spot.y + 1..bottom {
            self.canvas.put(buffer, spot.x, y, lines.vertical, border);
            self.canvas.put(buffer, right, y, lines.vertical, border);
        }
        let room = spot.width.saturating_sub(4);
        let write = |buffer: &mut Buffer, line: usize, content: &str, style: Style| {
            let content = text::clip(content, room, look.signs.ellipsis).into_owned();
            self.canvas.put(buffer, spot.x + 2, spot.y + 1 + line, &content, style);
        };
        match node {
            Node::Image(image) => {
                let style = if needed { look.text } else { look.muted };
                match self.pulled(image).filter(|(_, total)| *total > 0) {
                    Some((done, total)) => {
                        let [filled, rest] = bar(look, done, total, room);
                        write(buffer, 0, &filled.content, filled.style);
                        let used = text::width(&filled.content);
                        self.canvas.put(buffer, spot.x + 2 + used, spot.y + 1, &rest.content, rest.style);
                    }
                    None => write(buffer, 0, &text::sanitise(image), style),
                }
            }
            Node::Stage(stage) => {
                let label = text::sanitise(&self.plan.stage(*stage).label()).into_owned();
                let (sign, state, style) = self.state(*stage);
                let current = self.is_current(*stage);
                let name = match (current, needed) {
                    (true, _) => look.accent.add_modifier(Modifier::BOLD),
                    (false, true) => look.text,
                    (false, false) => look.muted,
                };
                let title = if current { format!("{} {label}", look.signs.current) } else { label };
                write(buffer, 0, &title, name);
                write(buffer, 1, &format!("{sign}{state}"), style);
            }
        }
    }

    fn is_current(&self, stage: StageId) -> bool {
        match self.app.running_step() {
            Some(step) => step.stage == stage,
            None => self.app.build.stop.as_ref().is_some_and(|stop| stop.position.stage == stage),
        }
    }

    /// Bytes of a base that is being fetched.
    fn pulled(&self, image: &str) -> Option<(u64, u64)> {
        let stages = self.plan.stages.iter();
        let bases = stages.filter(|stage| stage.base == crate::plan::Base::Image(image.to_owned()));
        let mut first = bases.filter_map(|stage| stage.steps.first()).map(|step| step.id);
        let running = |step: &StepId| matches!(self.app.build.status(*step), StepStatus::Running);
        let step = first.find(running)?;
        self.app.build.progress(step).map(|(done, total, _)| (done, total))
    }

    /// How far a stage is: `✓ 6 of 6`.
    fn state(&self, id: StageId) -> (String, String, Style) {
        let look = self.look();
        let stage = self.plan.stage(id);
        if !self.plan.order.contains(&id) {
            return (String::new(), "not needed".to_owned(), look.muted);
        }
        let build = &self.app.build;
        let done = match (&build.stop, build.running) {
            // The build stands in this stage, perhaps in the past.
            (Some(stop), false) if stop.position.stage == id => stop.position.done,
            _ => build.frontier(stage),
        };
        let total = stage.steps.len();
        let state = format!("{done} of {total}");
        let any = |wanted: fn(&StepStatus) -> bool| stage.steps.iter().any(|step| wanted(build.status(step.id)));
        if any(|status| matches!(status, StepStatus::Running)) {
            return (format!("{} ", self.app.spinner()), state, look.accent);
        }
        if any(|status| matches!(status, StepStatus::Failed(_))) {
            return (format!("{} ", look.signs.failed), state, look.removed);
        }
        match done as usize == total {
            true => (format!("{} ", look.signs.done), state, look.muted),
            false => (String::new(), state, look.muted),
        }
    }
}
