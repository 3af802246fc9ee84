//! Keeping a place in sight, and showing where it is.

use crate::tui::keymap::Motion;
use crate::tui::theme::Look;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// The place where a list of `total` lines is to begin so that `selected` is seen in `height` lines, moving as
/// little as can be from `top`. A little is kept in sight on both sides.
pub(crate) fn follow(top: usize, selected: usize, height: usize, total: usize) -> usize {
    if height == 0 {
        return top;
    }
    let margin = (height / 6).min(3);
    let least = (selected + margin + 1).saturating_sub(height);
    let most = selected.saturating_sub(margin);
    let top = if least > most { least } else { top.clamp(least, most) };
    top.min(total.saturating_sub(height))
}

/// An index moved within `total`; what is drawn clamps it to what there is.
pub(crate) fn moved(at: usize, motion: Motion, height: usize, total: usize) -> usize {
    let page = height.saturating_sub(1).max(1);
    let next = match motion {
        Motion::Up => at.saturating_sub(1),
        Motion::Down => at + 1,
        Motion::PageUp => at.saturating_sub(page),
        Motion::PageDown => at + page,
        Motion::First => 0,
        Motion::Last => total,
        Motion::Left | Motion::Right => at,
    };
    next.min(total.saturating_sub(1))
}

/// Of what a search has found, in order, the next on from `at`, around the end; without a direction, `at` too.
pub(crate) fn next_hit<T: Copy + Ord>(hits: &[T], at: T, forward: Option<bool>) -> Option<T> {
    let found = match forward {
        None => hits.iter().find(|hit| **hit >= at).or(hits.first()),
        Some(true) => hits.iter().find(|hit| **hit > at).or(hits.first()),
        Some(false) => hits.iter().rev().find(|hit| **hit < at).or(hits.last()),
    };
    found.copied()
}

/// Draws a bar into the last column of `area` if not all lines can be seen. Answers with what is left.
pub(crate) fn bar(area: Rect, buffer: &mut Buffer, look: &Look, top: usize, total: usize) -> Rect {
    let height = usize::from(area.height);
    if total <= height || area.width < 8 || height == 0 {
        return area;
    }
    let x = area.right() - 1;
    let length = (height * height / total).max(1);
    let room = height - length;
    let hidden = total - height;
    // The ends are reached only at the ends.
    let start = match top.min(hidden) {
        0 => 0,
        top if top == hidden => room,
        top => (top * room / hidden).clamp(1.min(room), room.saturating_sub(1).max(1.min(room))),
    };
    for row in start..start + length {
        buffer.set_string(x, area.y + row as u16, look.signs.thumb, look.border);
    }
    Rect { width: area.width - 1, ..area }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::theme::{Depth, Look, Theme};

    #[test]
    fn a_list_moves_as_little_as_it_can() {
        let check = |top, selected, height, total, expected| {
            assert_eq!(follow(top, selected, height, total), expected, "{top} {selected} {height} {total}");
        };
        check(0, 3, 12, 100, 0);
        check(0, 9, 12, 100, 0);
        check(0, 10, 12, 100, 1);
        check(50, 40, 12, 100, 38);
        check(50, 99, 12, 100, 88);
        check(5, 1, 12, 3, 0);
        check(7, 3, 0, 100, 7);
        check(0, 3, 1, 100, 3);
    }

    #[test]
    fn hits_are_gone_through_around_the_end() {
        let check = |at, forward, expected| assert_eq!(next_hit(&[2, 5, 9], at, forward), Some(expected), "{at}");
        check(5, None, 5);
        check(6, None, 9);
        check(10, None, 2);
        check(5, Some(true), 9);
        check(9, Some(true), 2);
        check(5, Some(false), 2);
        check(2, Some(false), 9);
        assert_eq!(next_hit(&[], 0, None), None);
    }

    #[test]
    fn the_bar_is_at_an_end_only_at_an_end() {
        let look = Look::new(&Theme::dark(), Depth::None, true);
        let drawn = |top, total| {
            let area = Rect::new(0, 0, 10, 5);
            let mut buffer = Buffer::empty(area);
            let left = bar(area, &mut buffer, &look, top, total);
            let column: String = (0..5).map(|y| buffer[(9, y)].symbol().to_owned()).collect();
            (left.width, column)
        };
        assert_eq!(drawn(0, 5), (10, "     ".to_owned()));
        assert_eq!(drawn(0, 25), (9, "#    ".to_owned()));
        assert_eq!(drawn(1, 25), (9, " #   ".to_owned()));
        assert_eq!(drawn(19, 25), (9, "   # ".to_owned()));
        assert_eq!(drawn(20, 25), (9, "    #".to_owned()));
        assert_eq!(drawn(1, 6), (9, " ####".to_owned()));
    }
}
