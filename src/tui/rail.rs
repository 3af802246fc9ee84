//! The stage graph as a rail beside the Dockerfile, for narrow screens: a lane for each stage from its first
//! instruction to the last one that reads it. Pure.

use super::graph::{DOWN, LEFT, RIGHT, UP};
use crate::plan::{FileOrigin, Plan, StageId, StepId};
use std::collections::BTreeMap;

/// Lanes beyond this are not drawn.
const LANES: usize = 6;
/// A longer file has no rail: nobody could follow its lanes.
const LINES: usize = 20_000;

/// One cell of the rail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    Blank,
    /// A line with these ways out, in the colour of a stage.
    Line(u8, StageId),
    /// An instruction of the stage whose lane this is.
    Dot(StepId),
}

/// The rail: for each line of the Dockerfile, from 1, its cells; two columns a lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rail {
    pub width: usize,
    rows: BTreeMap<u32, Vec<Cell>>,
}

impl Rail {
    /// The cells beside a line; those beside a line that is not there are blank.
    pub fn row(&self, line: u32) -> &[Cell] {
        self.rows.get(&line).map_or(&[], Vec::as_slice)
    }

    /// The cells between a line and what is shown below it that is no line of the file: lanes that go on.
    pub fn between(&self, line: u32) -> Vec<Cell> {
        let going_on = |cell: &Cell| match cell {
            Cell::Line(ways, stage) if ways & DOWN != 0 => Cell::Line(UP | DOWN, *stage),
            Cell::Dot(step) => Cell::Line(UP | DOWN, step.stage),
            _ => Cell::Blank,
        };
        self.row(line).iter().map(going_on).collect()
    }
}

/// A stage's lane, and the lines from which to which it is drawn.
#[derive(Debug, Clone, Copy)]
struct Lane {
    at: usize,
    from: u32,
    /// The stage's own last line.
    own: u32,
    to: u32,
}

pub fn rail(plan: &Plan) -> Rail {
    if plan.dockerfile.text.lines().nth(LINES).is_some() {
        return Rail::default();
    }
    let lanes = lanes(plan);
    let used = lanes.values().map(|lane| lane.at + 1).max().unwrap_or(0).min(LANES);
    let mut rail = Rail { width: used * 2, rows: BTreeMap::new() };
    for (stage, lane) in lanes.iter().filter(|(_, lane)| lane.at < LANES) {
        for line in lane.from..=lane.to {
            let mut ways = if line > lane.from { UP } else { 0 };
            ways |= if line < lane.to { DOWN } else { 0 };
            rail.put(line, lane.at * 2, Cell::Line(ways, *stage));
        }
    }
    for step in plan.stages.iter().flat_map(|stage| &stage.steps).filter(|step| !step.onbuild) {
        let Some(lane) = lanes.get(&step.id.stage).filter(|lane| lane.at < LANES) else { continue };
        for source in step.stages().filter(|source| *source != step.id.stage) {
            if let Some(from) = lanes.get(&source).filter(|from| from.at < LANES && from.from < lane.from) {
                rail.join(step.lines.start, from.at * 2, lane.at * 2, source);
            }
        }
        rail.put(step.lines.start, lane.at * 2, Cell::Dot(step.id));
    }
    rail
}

/// Every stage takes the first lane that is free at its first line.
fn lanes(plan: &Plan) -> BTreeMap<StageId, Lane> {
    let mut last: BTreeMap<StageId, u32> = BTreeMap::new();
    for stage in &plan.stages {
        for edge in &stage.needs {
            if let FileOrigin::Stage(source) = edge.origin {
                let line = plan.step(edge.step).lines.start;
                let entry = last.entry(source).or_default();
                *entry = (*entry).max(line);
            }
        }
    }
    let mut lanes: BTreeMap<StageId, Lane> = BTreeMap::new();
    let mut busy: Vec<u32> = Vec::new();
    for stage in &plan.stages {
        let own_steps = || stage.steps.iter().filter(|step| !step.onbuild);
        let Some(from) = own_steps().map(|step| step.lines.start).min() else { continue };
        let own = own_steps().map(|step| step.lines.end).max().unwrap_or(from);
        let to = last.get(&stage.id).copied().unwrap_or(0).max(own);
        let at = busy.iter().position(|until| *until < from).unwrap_or(busy.len());
        if at == busy.len() {
            busy.push(to);
        }
        busy[at] = to;
        lanes.insert(stage.id, Lane { at, from, own, to });
    }
    // A lane that ends with its own stage stops at its last instruction's first line.
    for (stage, lane) in &mut lanes {
        if lane.to == lane.own {
            let starts = plan.stage(*stage).steps.iter().filter(|step| !step.onbuild).map(|step| step.lines.start);
            lane.to = starts.max().unwrap_or(lane.to);
        }
    }
    lanes
}

impl Rail {
    fn put(&mut self, line: u32, at: usize, cell: Cell) {
        let width = self.width;
        let row = self.rows.entry(line).or_insert_with(|| vec![Cell::Blank; width]);
        if let Some(place) = row.get_mut(at) {
            *place = match (*place, cell) {
                (Cell::Line(old, stage), Cell::Line(new, _)) => Cell::Line(old | new, stage),
                (_, cell) => cell,
            };
        }
    }

    /// Draws from the source's lane to just beside the reader's.
    fn join(&mut self, line: u32, from: usize, to: usize, stage: StageId) {
        let (low, high) = (from.min(to), from.max(to));
        let way = if from < to { RIGHT } else { LEFT };
        self.put(line, from, Cell::Line(way, stage));
        for at in low + 1..high {
            self.put(line, at, Cell::Line(LEFT | RIGHT, stage));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    fn check(text: &str, expected: &str) {
        let rail = rail(&fixture::plan(text));
        let sign = |cell: &Cell| match cell {
            Cell::Blank => ' ',
            Cell::Dot(_) => '●',
            Cell::Line(ways, _) => "·╵╷│╴╯╮┤╶╰╭├─┴┬┼".chars().nth(usize::from(*ways)).unwrap(),
        };
        let lines: Vec<String> = (1..=text.lines().count() as u32)
            .map(|line| rail.row(line).iter().map(sign).collect::<String>().trim_end().to_owned())
            .collect();
        assert_eq!(format!("\n{}\n", lines.join("\n")), expected);
    }

    #[test]
    fn a_stage_goes_on_until_it_is_read() {
        check(
            "FROM a AS one\nRUN x\n\nFROM b AS two\nRUN y\nCOPY --from=one /x /x\nRUN z",
            "\n●\n●\n│\n│ ●\n│ ●\n╰─●\n  ●\n",
        );
    }

    #[test]
    fn lanes_are_used_again() {
        check(
            "FROM a AS one\nFROM one AS two\nRUN y\nFROM c AS three\nCOPY --from=two /x /x\nCOPY --from=one /x /x",
            "\n●\n├─●\n│ ●\n│ │ ●\n│ ╰─●\n╰───●\n",
        );
        check("FROM a\nRUN x\nFROM b\nRUN y \\\n  z", "\n●\n●\n●\n●\n\n");
    }
}
