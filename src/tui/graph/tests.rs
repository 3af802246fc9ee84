use super::*;
use proptest::prelude::*;

/// Draws a graph with boxes named by their index.
fn draw(shapes: &[Shape], links: &[Link], width: usize) -> String {
    let layout = layout(shapes, links, width);
    let mut rows = vec![vec![' '; layout.width]; layout.height];
    for (index, spot) in layout.boxes.iter().enumerate() {
        let columns = spot.x..spot.x + spot.width;
        let cells = (spot.y..spot.y + spot.height).flat_map(|y| columns.clone().map(move |x| (x, y)));
        for (x, y) in cells {
            let edge_y = y == spot.y || y + 1 == spot.y + spot.height;
            let edge_x = x == spot.x || x + 1 == spot.x + spot.width;
            rows[y][x] = match (edge_x, edge_y) {
                (true, true) => '+',
                (false, true) => '─',
                (true, false) => '│',
                (false, false) if (x, y) == (spot.x + 2, spot.y + 1) => (b'a' + index as u8) as char,
                (false, false) => ' ',
            };
        }
    }
    let mut merged: BTreeMap<(usize, usize), u8> = BTreeMap::new();
    for wire in &layout.wires {
        *merged.entry((wire.y, wire.x)).or_default() |= wire.ways;
    }
    for ((y, x), ways) in merged {
        rows[y][x] = "?╵╷│╴╯╮┤╶╰╭├─┴┬┼".chars().nth(usize::from(ways)).unwrap();
    }
    for label in &layout.labels {
        rows[label.y][label.x..label.x + links[label.link].label].fill('#');
    }
    let lines: Vec<String> = rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned()).collect();
    format!("\n{}\n", lines.join("\n"))
}

fn shape(width: usize, height: usize) -> Shape {
    Shape { width, height, low: height == 3, apart: false }
}

fn link(from: usize, to: usize, label: usize) -> Link {
    Link { from, to, label }
}

#[test]
fn two_bases_two_stages() {
    let shapes = [shape(15, 4), shape(14, 4), shape(15, 3), shape(15, 3)];
    let links = [link(2, 0, 0), link(3, 1, 0), link(0, 1, 6)];
    insta::assert_snapshot!(draw(&shapes, &links, 36));
}

#[test]
fn one_base_of_many_stages_and_a_long_way() {
    let shapes = [shape(12, 4), shape(12, 4), shape(12, 4), shape(12, 4), shape(11, 3)];
    let links = [link(4, 0, 0), link(4, 1, 0), link(4, 2, 0), link(0, 3, 6), link(1, 3, 6), link(2, 3, 6)];
    insta::assert_snapshot!(draw(&shapes, &links, 36));
}

#[test]
fn a_chain() {
    let shapes = [shape(12, 4), shape(12, 4), shape(12, 4), shape(11, 3)];
    let links = [link(3, 0, 0), link(0, 1, 0), link(1, 2, 0), link(0, 2, 6)];
    insta::assert_snapshot!(draw(&shapes, &links, 36));
}

fn graphs() -> impl Strategy<Value = (Vec<Shape>, Vec<Link>, usize)> {
    let shapes = prop::collection::vec((5usize..24, 3usize..5, any::<bool>()), 1..14);
    let links = prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0usize..9), 0..30);
    (shapes, links, 10usize..80).prop_map(|(shapes, raw, width)| {
        let count = shapes.len();
        let mut seen = BTreeSet::new();
        let links = raw
            .into_iter()
            .map(|(a, b, label)| (a.index(count), b.index(count), label))
            .map(|(a, b, label)| Link { from: a.min(b), to: a.max(b), label })
            .filter(|it| it.from != it.to && seen.insert((it.from, it.to)))
            .collect::<Vec<_>>();
        let shapes = shapes
            .into_iter()
            .enumerate()
            // Only what reads nothing itself is a base image.
            .map(|(at, (width, height, low))| Shape {
                width,
                height,
                low: low && !links.iter().any(|it| it.to == at),
                apart: false,
            })
            .collect();
        (shapes, links, width)
    })
}

proptest! {
    #[test]
    fn boxes_and_lines_keep_apart((shapes, links, width) in graphs()) {
        let out = layout(&shapes, &links, width);
        for (at, spot) in out.boxes.iter().enumerate() {
            prop_assert!(spot.width >= shapes[at].width && spot.height == shapes[at].height);
            prop_assert!(spot.x + spot.width <= out.width && spot.y + spot.height <= out.height);
            for other in &out.boxes[at + 1..] {
                let apart = spot.x + spot.width <= other.x || other.x + other.width <= spot.x
                    || spot.y + spot.height <= other.y || other.y + other.height <= spot.y;
                prop_assert!(apart, "{:?} {:?}", spot, other);
            }
            for wire in &out.wires {
                let inside = spot.x < wire.x + 1 && wire.x < spot.x + spot.width
                    && spot.y < wire.y + 1 && wire.y < spot.y + spot.height;
                let port = wire.ways & (LEFT | RIGHT) == LEFT | RIGHT
                    && (wire.y == spot.y && wire.ways & UP != 0
                        || wire.y + 1 == spot.y + spot.height && wire.ways & DOWN != 0);
                prop_assert!(!inside || port, "{:?} in {:?}", wire, spot);
            }
            for label in &out.labels {
                prop_assert!(label.y < spot.y || label.y >= spot.y + spot.height
                    || label.x >= spot.x + spot.width || label.x + links[label.link].label <= spot.x);
            }
        }
    }

    #[test]
    fn every_reader_hangs_on_its_source((shapes, links, width) in graphs()) {
        let out = layout(&shapes, &links, width);
        for link in &links {
            let mut cells: BTreeMap<(usize, usize), u8> = BTreeMap::new();
            for wire in out.wires.iter().filter(|wire| wire.from == link.from) {
                *cells.entry((wire.x, wire.y)).or_default() |= wire.ways;
            }
            let from = out.boxes[link.from];
            let to = out.boxes[link.to];
            prop_assert!(from.y + from.height <= to.y, "sources stand above");
            let mut open = vec![(from.x + from.width / 2, from.y + from.height - 1)];
            let mut seen = BTreeSet::new();
            while let Some((x, y)) = open.pop() {
                if !seen.insert((x, y)) { continue; }
                let Some(ways) = cells.get(&(x, y)) else { continue };
                let edge = y + 1 == from.y + from.height || y == to.y;
                if ways & DOWN != 0 { open.push((x, y + 1)); }
                if ways & UP != 0 && y > from.y + from.height - 1 { open.push((x, y - 1)); }
                if !edge && ways & LEFT != 0 { open.push((x - 1, y)); }
                if !edge && ways & RIGHT != 0 { open.push((x + 1, y)); }
            }
            let reached = (to.x..to.x + to.width).any(|x| seen.contains(&(x, to.y)) && cells.contains_key(&(x, to.y)));
            prop_assert!(reached, "{:?}", link);
        }
    }

    #[test]
    fn many_boxes_are_no_trouble(count in 290usize..320) {
        let shapes = vec![shape(10, 4); count];
        let links: Vec<Link> = (1..count).map(|to| link(to - 1, to, 6)).collect();
        prop_assert_eq!(layout(&shapes, &links, 36).boxes.len(), count);
    }
}
