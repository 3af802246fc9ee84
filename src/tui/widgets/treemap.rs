//! Areas as large as numbers, so that what is large is seen at once.
//!
//! Source: Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000).

use ratatui::layout::Rect;

/// A cell of a terminal is about twice as high as it is wide.
const CELL: f64 = 2.0;

/// The part of `area` for each of the sizes, which come largest first. Parts lie side by side without a gap; what is
/// too small for a cell has none.
pub fn tiles(sizes: &[u64], area: Rect) -> Vec<Rect> {
    let total: f64 = sizes.iter().map(|size| *size as f64).sum();
    let mut rest = Free { x: 0.0, y: 0.0, width: f64::from(area.width), height: f64::from(area.height) * CELL };
    if total <= 0.0 || area.width == 0 || area.height == 0 {
        return vec![Rect::default(); sizes.len()];
    }
    let scale = rest.width * rest.height / total;
    let mut out = Vec::with_capacity(sizes.len());
    let mut at = 0;
    while at < sizes.len() {
        // As many go side by side as makes the worst of them squarer.
        let side = rest.width.min(rest.height);
        let mut sum = 0.0;
        let mut end = at;
        let mut worst = f64::INFINITY;
        while let Some(size) = sizes.get(end) {
            let next = sum + *size as f64 * scale;
            let (largest, smallest) = (sizes[at] as f64 * scale, *size as f64 * scale);
            let ratio = (side * side * largest / (next * next)).max(next * next / (side * side * smallest));
            if end > at && (ratio > worst || ratio.is_nan()) {
                break;
            }
            (worst, sum, end) = (ratio, next, end + 1);
        }
        out.extend(rest.take(sizes[at..end].iter().map(|size| *size as f64 * scale), sum).map(|it| it.cells(area)));
        at = end;
    }
    out
}

/// What is left of the area, in units as wide as a cell.
#[derive(Debug, Clone, Copy)]
struct Free {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Free {
    /// Cuts a strip off along the shorter side and divides it.
    fn take(&mut self, parts: impl Iterator<Item = f64>, sum: f64) -> impl Iterator<Item = Free> {
        let whole = *self;
        let along_height = self.width >= self.height;
        let side = if along_height { self.height } else { self.width };
        let depth = if side > 0.0 { sum / side } else { 0.0 };
        match along_height {
            true => {
                self.x += depth;
                self.width = (self.width - depth).max(0.0);
            }
            false => {
                self.y += depth;
                self.height = (self.height - depth).max(0.0);
            }
        }
        let mut at = 0.0;
        parts.map(move |part| {
            let length = if depth > 0.0 { part / depth } else { 0.0 };
            let start = at;
            at += length;
            match along_height {
                true => Free { x: whole.x, y: whole.y + start, width: depth, height: length },
                false => Free { x: whole.x + start, y: whole.y, width: length, height: depth },
            }
        })
    }

    /// Both edges are rounded alike, so that neighbours meet.
    fn cells(self, area: Rect) -> Rect {
        let column = |at: f64| (at.round() as u16).min(area.width);
        let row = |at: f64| ((at / CELL).round() as u16).min(area.height);
        let (left, right) = (column(self.x), column(self.x + self.width));
        let (top, bottom) = (row(self.y), row(self.y + self.height));
        Rect::new(area.x + left, area.y + top, right.saturating_sub(left), bottom.saturating_sub(top))
    }
}

/// The part that one is come to by going from another in a direction: the nearest that lies that way, of several the
/// one beside it, of several of those the largest.
pub fn neighbour(tiles: &[Rect], from: usize, (right, down): (i32, i32)) -> Option<usize> {
    let spans =
        |tile: &Rect| ((i32::from(tile.x), i32::from(tile.right())), (i32::from(tile.y), i32::from(tile.bottom())));
    let apart = |(start, end): (i32, i32), (other, last): (i32, i32)| (other - end + 1).max(start - last + 1).max(0);
    let (columns, rows) = spans(tiles.get(from)?);
    let seen = tiles.iter().enumerate().filter(|(at, tile)| *at != from && !tile.is_empty());
    seen.filter_map(|(at, tile)| {
        let (other_columns, other_rows) = spans(tile);
        let ahead = match (right, down) {
            (1, _) => other_columns.0 - columns.1,
            (-1, _) => columns.0 - other_columns.1,
            (_, 1) => other_rows.0 - rows.1,
            _ => rows.0 - other_rows.1,
        };
        let aside = if right != 0 { apart(rows, other_rows) } else { apart(columns, other_columns) };
        (ahead >= 0).then_some((ahead + 2 * aside, at))
    })
    .min()
    .map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_largest_is_first_and_all_is_filled() {
        let area = Rect::new(3, 2, 40, 10);
        let found = tiles(&[60, 20, 10, 10], area);
        assert_eq!(
            found,
            [Rect::new(3, 2, 24, 10), Rect::new(27, 2, 16, 5), Rect::new(27, 7, 8, 5), Rect::new(35, 7, 8, 5)]
        );
        assert_eq!(neighbour(&found, 0, (1, 0)), Some(1));
        assert_eq!(neighbour(&found, 1, (0, 1)), Some(2));
        assert_eq!(neighbour(&found, 2, (1, 0)), Some(3));
        assert_eq!(neighbour(&found, 3, (-1, 0)), Some(2));
        assert_eq!(neighbour(&found, 0, (-1, 0)), None);
    }

    #[test]
    fn nothing_has_no_area() {
        assert_eq!(tiles(&[], Rect::new(0, 0, 5, 5)), []);
        assert_eq!(tiles(&[0, 0], Rect::new(0, 0, 5, 5)), [Rect::default(); 2]);
        assert_eq!(tiles(&[7], Rect::new(0, 0, 0, 5)), [Rect::default()]);
    }

    proptest! {
        #[test]
        fn every_cell_is_one_parts(mut sizes in prop::collection::vec(0u64..1 << 40, 1..40), width in 1u16..80, height in 1u16..40) {
            sizes.sort_by_key(|size| std::cmp::Reverse(*size));
            prop_assume!(sizes[0] > 0);
            let area = Rect::new(1, 1, width, height);
            let mut covered = vec![0; usize::from(width) * usize::from(height)];
            for tile in tiles(&sizes, area) {
                for position in tile.positions() {
                    prop_assert!(area.contains(position));
                    covered[usize::from(position.y - 1) * usize::from(width) + usize::from(position.x - 1)] += 1;
                }
            }
            prop_assert!(covered.iter().all(|count| *count == 1), "{covered:?}");
        }
    }
}
