//! Where the boxes and lines of the stage graph go. Pure: widths in, places out.
//!
//! Boxes stand in rows, each below all that it reads from. What one box is read by hangs from one line: it
//! leaves the box in the middle of its lower edge, runs along a track between two rows, and drops to each
//! reader; past rows that it has nothing to do with it goes straight down.

use std::collections::{BTreeMap, BTreeSet};

/// More boxes than this are stacked without lines: nobody could follow those.
const MOST: usize = 300;
const GAP: usize = 2;

/// A box to be placed, border included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub width: usize,
    pub height: usize,
    /// Stands as low as its readers allow (a base image), not as high as it could.
    pub low: bool,
    /// Stands below all others, and its lines are not drawn: it is no part of what the graph is about.
    pub apart: bool,
}

/// `to` reads from `from`. `label` is the width to keep free beside the line, 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub from: usize,
    pub to: usize,
    pub label: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

/// Directions in which a line leaves a cell.
pub const UP: u8 = 1;
pub const DOWN: u8 = 2;
pub const LEFT: u8 = 4;
pub const RIGHT: u8 = 8;

/// One cell of a line; several may share a place, where lines cross.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    pub x: usize,
    pub y: usize,
    pub ways: u8,
    /// The box it comes from.
    pub from: usize,
    /// The box whose reading this cell serves alone; `None` where several share the line.
    pub to: Option<usize>,
}

/// Room for a link's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    pub link: usize,
    pub x: usize,
    pub y: usize,
    /// Left of the line: to be aligned right.
    pub left: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    pub width: usize,
    pub height: usize,
    /// One for each shape.
    pub boxes: Vec<Spot>,
    pub wires: Vec<Wire>,
    pub labels: Vec<Label>,
}

/// Places all shapes, within `width` columns as far as that can be done.
pub fn layout(shapes: &[Shape], links: &[Link], width: usize) -> Layout {
    if shapes.len() > MOST {
        return stacked(shapes);
    }
    let drawn: Vec<Link> = links.iter().copied().map(|link| hidden(shapes, link)).collect();
    let shapes = widened(shapes, &drawn);
    let mut work = Work::new(&shapes, &drawn, width);
    for rank in ranked(&shapes, &drawn) {
        let mut left = rank;
        while !left.is_empty() {
            left = work.row(left);
        }
    }
    work.out
}

/// A link that is not drawn leads from a box to itself, so that the others keep their numbers.
fn hidden(shapes: &[Shape], link: Link) -> Link {
    match shapes[link.from].apart || shapes[link.to].apart {
        true => Link { to: link.from, label: 0, ..link },
        false => link,
    }
}

/// Every line that arrives at a box needs a column of its own on its upper edge.
fn widened(shapes: &[Shape], links: &[Link]) -> Vec<Shape> {
    let mut sources = vec![BTreeSet::new(); shapes.len()];
    for link in links.iter().filter(|link| link.from != link.to) {
        sources[link.to].insert(link.from);
    }
    let wide =
        |(shape, sources): (&Shape, &BTreeSet<usize>)| Shape { width: shape.width.max(sources.len() + 2), ..*shape };
    shapes.iter().zip(&sources).map(wide).collect()
}

fn stacked(shapes: &[Shape]) -> Layout {
    let mut out = Layout::default();
    for shape in shapes {
        out.boxes.push(Spot { x: 0, y: out.height, width: shape.width, height: shape.height });
        out.height += shape.height;
        out.width = out.width.max(shape.width);
    }
    out
}

/// Boxes by the longest way to them. What is part of a cycle, which no valid plan has, comes last.
fn ranked(shapes: &[Shape], links: &[Link]) -> Vec<Vec<usize>> {
    let mut rank = vec![0usize; shapes.len()];
    // A way through all boxes has as many links, so this many rounds settle everything but cycles.
    for _ in 0..shapes.len() {
        let mut settled = true;
        for link in links.iter().filter(|link| link.from != link.to) {
            if rank[link.to] <= rank[link.from] && rank[link.from] + 1 < shapes.len() {
                rank[link.to] = rank[link.from] + 1;
                settled = false;
            }
        }
        if settled {
            break;
        }
    }
    for (index, _) in shapes.iter().enumerate().filter(|(_, shape)| shape.low) {
        let reads = links.iter().filter(|link| link.from == index && link.to != index).map(|link| rank[link.to]);
        rank[index] = reads.min().map_or(0, |lowest| lowest.saturating_sub(1)).max(rank[index]);
    }
    let mut rows: BTreeMap<(bool, usize), Vec<usize>> = BTreeMap::new();
    for (index, rank) in rank.into_iter().enumerate() {
        rows.entry((shapes[index].apart, rank)).or_default().push(index);
    }
    rows.into_values().collect()
}

/// A line on its way down: where it is, and whom it has still to reach.
#[derive(Debug)]
struct Net {
    from: usize,
    x: usize,
    open: BTreeSet<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Box(usize),
    /// The line from this box goes through the row.
    Pass(usize),
}

/// One line within the space between two rows.
#[derive(Debug)]
struct Course {
    from: usize,
    top: usize,
    /// Columns at the lower end, each with the reader, or `None` for going on down.
    ends: Vec<(usize, Option<usize>)>,
    track: Option<usize>,
}

struct Work<'g> {
    shapes: &'g [Shape],
    links: &'g [Link],
    limit: usize,
    nets: Vec<Net>,
    placed: BTreeSet<usize>,
    out: Layout,
}

impl<'g> Work<'g> {
    fn new(shapes: &'g [Shape], links: &'g [Link], limit: usize) -> Self {
        let none = Spot { x: 0, y: 0, width: 0, height: 0 };
        let out = Layout { boxes: vec![none; shapes.len()], ..Layout::default() };
        Work { shapes, links, limit, nets: Vec::new(), placed: BTreeSet::new(), out }
    }

    /// Places one row with as many of `boxes` as fit, at least one. Answers with the rest.
    fn row(&mut self, boxes: Vec<usize>) -> Vec<usize> {
        let (taken, rest) = self.split(boxes);
        let items = self.arranged(&taken);
        let spots = self.spread(&items);
        let courses = self.courses(&items, &spots);
        self.channel(courses, &items, &spots);
        rest
    }

    fn split(&self, mut boxes: Vec<usize>) -> (Vec<usize>, Vec<usize>) {
        boxes.sort_by_key(|index| (self.wish(*index).unwrap_or(usize::MAX), self.first_reader(*index), *index));
        let mut used = self.nets.len() * 2;
        let mut count = 0;
        for index in &boxes {
            used += self.shapes[*index].width + GAP;
            if count > 0 && used > self.limit + GAP {
                break;
            }
            count += 1;
        }
        let rest = boxes.split_off(count);
        (boxes, rest)
    }

    fn first_reader(&self, index: usize) -> usize {
        let readers = self.links.iter().filter(|link| link.from == index).map(|link| link.to);
        readers.min().unwrap_or(usize::MAX)
    }

    /// The column under which a box would stand best: in the middle of the lines that it reads from.
    fn wish(&self, index: usize) -> Option<usize> {
        let xs: Vec<usize> = self.nets.iter().filter(|net| net.open.contains(&index)).map(|net| net.x).collect();
        (!xs.is_empty()).then(|| xs.iter().sum::<usize>() / xs.len())
    }

    /// The row's boxes and passing lines from left to right.
    fn arranged(&self, boxes: &[usize]) -> Vec<Item> {
        let mut items: Vec<(usize, usize, Item)> = Vec::new();
        for index in boxes {
            items.push((self.wish(*index).unwrap_or(usize::MAX), 1, Item::Box(*index)));
        }
        for net in self.nets.iter().filter(|net| net.open.iter().any(|to| !boxes.contains(to))) {
            items.push((net.x, 0, Item::Pass(net.from)));
        }
        items.sort_by_key(|(x, kind, _)| (*x, *kind));
        items.into_iter().map(|(_, _, item)| item).collect()
    }

    /// Left edge and width of each item.
    fn spread(&self, items: &[Item]) -> Vec<(usize, usize)> {
        let width = |item: &Item| match item {
            Item::Box(index) => self.shapes[*index].width,
            Item::Pass(_) => 1,
        };
        let wish = |item: &Item| match item {
            Item::Box(index) => self.wish(*index).map(|x| x.saturating_sub(self.shapes[*index].width / 2)),
            Item::Pass(from) => self.nets.iter().find(|net| net.from == *from).map(|net| net.x),
        };
        let gap = |a: &Item, b: &Item| match (a, b) {
            (Item::Box(_), Item::Box(_)) => GAP,
            _ => 1,
        };
        let mut xs: Vec<usize> = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let least = match at.checked_sub(1) {
                Some(before) => xs[before] + width(&items[before]) + gap(&items[before], item),
                None => self.label_room(item),
            };
            xs.push(wish(item).unwrap_or(least).max(least));
        }
        // What sticks out at the right moves back as far as its neighbours let it.
        let mut most = self.limit;
        for at in (0..items.len()).rev() {
            let room = most.saturating_sub(width(&items[at]));
            if xs[at] <= room {
                break;
            }
            let before: usize = (0..at).map(|it| width(&items[it]) + gap(&items[it], &items[it + 1])).sum();
            xs[at] = room.max(before);
            most = match at.checked_sub(1) {
                Some(left) => xs[at].saturating_sub(gap(&items[left], &items[at])),
                None => 0,
            };
        }
        items.iter().zip(xs).map(|(item, x)| (x, width(item))).collect()
    }

    /// Columns to keep free left of a box, for the labels of lines that have another line at their right.
    fn label_room(&self, item: &Item) -> usize {
        let Item::Box(index) = item else { return 0 };
        let incoming = self.nets.iter().filter(|net| net.open.contains(index)).count();
        let labels = self.links.iter().filter(|link| link.to == *index).map(|link| link.label);
        if incoming > 1 { labels.max().unwrap_or(0).saturating_sub(1) } else { 0 }
    }

    /// How each line runs between the row above and this one.
    fn courses(&self, items: &[Item], spots: &[(usize, usize)]) -> Vec<Course> {
        let mut courses: Vec<Course> =
            self.nets.iter().map(|net| Course { from: net.from, top: net.x, ends: Vec::new(), track: None }).collect();
        for (item, (x, width)) in items.iter().zip(spots) {
            match item {
                Item::Pass(from) => {
                    if let Some(course) = courses.iter_mut().find(|it| it.from == *from) {
                        course.ends.push((*x, None));
                    }
                }
                Item::Box(index) => {
                    let mut incoming: Vec<usize> =
                        (0..courses.len()).filter(|at| self.nets[*at].open.contains(index)).collect();
                    incoming.sort_by_key(|at| courses[*at].top);
                    let tops: Vec<usize> = incoming.iter().map(|at| courses[*at].top).collect();
                    for (at, port) in incoming.into_iter().zip(ports(*x, *width, &tops)) {
                        courses[at].ends.push((port, Some(*index)));
                    }
                }
            }
        }
        courses.retain(|course| !course.ends.is_empty());
        set_tracks(&mut courses);
        courses
    }

    /// Draws the space between the rows, then the row itself, and moves the lines on.
    fn channel(&mut self, courses: Vec<Course>, items: &[Item], spots: &[(usize, usize)]) {
        let top = self.out.height;
        let tracks = courses.iter().filter_map(|course| course.track).max().map_or(0, |most| most + 1);
        let labels = self.place_labels(&courses, top + tracks);
        let label_rows = labels.iter().map(|label| label.y + 1 - top - tracks).max().unwrap_or(0);
        let first = self.placed.is_empty();
        let space = if first { 0 } else { (tracks + label_rows).max(1) };
        let row = top + space;
        for course in &courses {
            self.run(course, top, row);
        }
        self.out.labels.extend(labels);
        let boxes = items.iter().filter_map(|item| match item {
            Item::Box(index) => Some(self.shapes[*index].height),
            Item::Pass(_) => None,
        });
        let height = boxes.max().unwrap_or(0);
        for (item, (x, width)) in items.iter().zip(spots) {
            self.out.width = self.out.width.max(x + width);
            match item {
                Item::Box(index) => {
                    let spot = Spot { x: *x, y: row, width: *width, height: self.shapes[*index].height };
                    self.out.boxes[*index] = spot;
                    self.placed.insert(*index);
                }
                Item::Pass(from) => {
                    for y in row..row + height {
                        self.wire(*x, y, UP | DOWN, *from, None);
                    }
                }
            }
        }
        self.out.height = row + height;
        self.move_on(items, spots, row, height);
    }

    fn move_on(&mut self, items: &[Item], spots: &[(usize, usize)], row: usize, height: usize) {
        let boxes: Vec<usize> = items
            .iter()
            .filter_map(|item| match item {
                Item::Box(index) => Some(*index),
                Item::Pass(_) => None,
            })
            .collect();
        for net in &mut self.nets {
            net.open.retain(|to| !boxes.contains(to));
            let pass = items.iter().zip(spots).find(|(item, _)| **item == Item::Pass(net.from));
            if let Some((_, (x, _))) = pass {
                net.x = *x;
            }
        }
        self.nets.retain(|net| !net.open.is_empty());
        for (index, (x, width)) in boxes.iter().zip(items.iter().zip(spots).filter_map(|(item, spot)| match item {
            Item::Box(_) => Some(spot),
            Item::Pass(_) => None,
        })) {
            let readers = self.links.iter().filter(|link| link.from == *index).map(|link| link.to);
            let open: BTreeSet<usize> = readers.filter(|to| !self.placed.contains(to)).collect();
            if open.is_empty() {
                continue;
            }
            let middle = x + width / 2;
            let bottom = row + self.shapes[*index].height - 1;
            self.wire(middle, bottom, LEFT | RIGHT | DOWN, *index, None);
            // Down to the row's lower edge, if other boxes of it are taller.
            for y in bottom + 1..row + height {
                self.wire(middle, y, UP | DOWN, *index, None);
            }
            self.nets.push(Net { from: *index, x: middle, open });
        }
    }

    fn run(&mut self, course: &Course, top: usize, row: usize) {
        let alone = match course.ends.as_slice() {
            [(_, to)] => *to,
            _ => None,
        };
        let turn = course.track.map_or(top, |track| top + track);
        if course.track.is_some() {
            for y in top..turn {
                self.wire(course.top, y, UP | DOWN, course.from, alone);
            }
            let columns = course.ends.iter().map(|(x, _)| *x).chain([course.top]);
            let (from, to) = columns.fold((usize::MAX, 0), |(low, high), x| (low.min(x), high.max(x)));
            for x in from..=to {
                let mut ways = 0;
                ways |= if x > from { LEFT } else { 0 };
                ways |= if x < to { RIGHT } else { 0 };
                ways |= if x == course.top { UP } else { 0 };
                ways |= if course.ends.iter().any(|(end, _)| *end == x) { DOWN } else { 0 };
                self.wire(x, turn, ways, course.from, alone);
            }
        }
        for (x, to) in &course.ends {
            let from = if course.track.is_some() { turn + 1 } else { top };
            for y in from..row {
                self.wire(*x, y, UP | DOWN, course.from, *to);
            }
            if to.is_some() {
                self.wire(*x, row, LEFT | RIGHT | UP, course.from, *to);
            }
        }
    }

    fn wire(&mut self, x: usize, y: usize, ways: u8, from: usize, to: Option<usize>) {
        self.out.wires.push(Wire { x, y, ways, from, to });
    }

    /// Labels stand right of their line, or left of it, where neither a line nor another label is.
    fn place_labels(&mut self, courses: &[Course], top: usize) -> Vec<Label> {
        let columns: BTreeSet<usize> = courses.iter().flat_map(|it| it.ends.iter().map(|(x, _)| *x)).collect();
        let mut ends: Vec<(usize, usize)> = Vec::new();
        for course in courses {
            for (x, to) in &course.ends {
                let link = self.links.iter().position(|it| it.from == course.from && Some(it.to) == *to);
                ends.extend(link.filter(|link| self.links[*link].label > 0).map(|link| (*x, link)));
            }
        }
        ends.sort_unstable();
        let mut labels: Vec<Label> = Vec::new();
        let mut taken: Vec<(usize, usize, usize)> = Vec::new();
        for (x, link) in ends {
            let width = self.links[link].label;
            let right = (x + 2, x + 2 + width);
            let left = x.checked_sub(width + 1).map(|start| (start, x - 1));
            let free = |(from, to): (usize, usize)| columns.range(from.saturating_sub(1)..to + 1).next().is_none();
            let sides = [(Some(right).filter(|it| it.1 <= self.limit.max(self.out.width)), false), (left, true)];
            let side = sides.into_iter().find_map(|(span, left)| span.filter(|it| free(*it)).map(|span| (span, left)));
            let Some(((from, to), left)) = side else { continue };
            let clash = |row: usize| taken.iter().any(|it| it.0 == row && it.1 < to + 1 && from < it.2 + 1);
            let row = (0..).find(|row| !clash(*row)).unwrap_or(0);
            taken.push((row, from, to));
            self.out.width = self.out.width.max(to);
            labels.push(Label { link, x: from, y: top + row, left });
        }
        labels
    }
}

/// Columns on a box's upper edge for lines that come from `tops` (in order): below where they come from if
/// that can be, and apart.
fn ports(x: usize, width: usize, tops: &[usize]) -> Vec<usize> {
    let inset = if width > tops.len() + 4 { 2 } else { 1 };
    let (low, high) = (x + inset, (x + width).saturating_sub(inset + 1).max(x + inset));
    let room = high - low + 1;
    let apart = if room >= 2 * tops.len() { 2 } else { 1 };
    let mut out: Vec<usize> = Vec::with_capacity(tops.len());
    for (at, top) in tops.iter().enumerate() {
        let least = out.last().map_or(low, |last| last + apart);
        let most = high.saturating_sub((tops.len() - 1 - at) * apart).max(low);
        out.push((*top).clamp(least.min(most), most).max(least));
    }
    out
}

/// Gives every line that must turn a track of its own, or one that it shares without touching another. A line
/// whose column another one takes over further down turns above that one.
fn set_tracks(courses: &mut [Course]) {
    let turns = |course: &Course| course.ends.iter().any(|(x, _)| *x != course.top);
    let mut waiting: Vec<usize> = (0..courses.len()).filter(|at| turns(&courses[*at])).collect();
    waiting.sort_by_key(|at| courses[*at].top);
    while !waiting.is_empty() {
        // One that takes over nobody's column who still waits; in a circle, whoever comes first.
        let takes_over =
            |at: usize, other: usize| at != other && courses[at].ends.iter().any(|(x, _)| *x == courses[other].top);
        let next = waiting.iter().position(|at| !waiting.iter().any(|other| takes_over(*at, *other))).unwrap_or(0);
        let at = waiting.remove(next);
        let span = |course: &Course| {
            let columns = course.ends.iter().map(|(x, _)| *x).chain([course.top]);
            columns.fold((usize::MAX, 0), |(low, high): (usize, usize), x| (low.min(x), high.max(x)))
        };
        let (from, to) = span(&courses[at]);
        let above = (0..courses.len()).filter(|other| takes_over(at, *other)).filter_map(|other| courses[other].track);
        let least = above.max().map_or(0, |track| track + 1);
        let clash = |track: usize| {
            courses.iter().any(|other| {
                let (low, high) = span(other);
                other.track == Some(track) && low <= to + 1 && from <= high + 1
            })
        };
        courses[at].track = (least..).find(|track| !clash(*track));
    }
}

#[cfg(test)]
mod tests;
