//! How far something is, as a bar.

use crate::tui::text;
use crate::tui::theme::Look;
use ratatui::text::Span;

/// A bar of `width` columns: what is done, and the rest.
pub(crate) fn bar(look: &Look, done: u64, total: u64, width: usize) -> [Span<'static>; 2] {
    let parts = look.signs.bar_parts;
    let steps = (parts.len() + 1) as u128;
    let total = u128::from(total.max(1));
    let filled = (u128::from(done).min(total) * width as u128 * steps / total) as usize;
    let (whole, part) = (filled / steps as usize, filled % steps as usize);
    let mut out = look.signs.bar.repeat(whole);
    if let Some(part) = part.checked_sub(1).and_then(|at| parts.get(at)) {
        out.push_str(part);
    }
    let rest = look.signs.bar_rest.repeat(width.saturating_sub(text::width(&out)));
    [Span::styled(out, look.accent), Span::styled(rest, look.border)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::theme::{Depth, Theme};

    fn check(done: u64, total: u64, width: usize, expected: &str) {
        let look = Look::new(&Theme::dark(), Depth::None, false);
        let [filled, rest] = bar(&look, done, total, width);
        assert_eq!(format!("{}{}", filled.content, rest.content), expected, "{done} of {total}");
    }

    #[test]
    fn is_as_long_as_it_is_wide() {
        check(0, 100, 4, "────");
        check(50, 100, 4, "━━──");
        check(62, 100, 4, "━━──");
        check(63, 100, 4, "━━╸─");
        check(100, 100, 4, "━━━━");
        check(300, 100, 4, "━━━━");
        check(5, 0, 4, "━━━━");
        check(u64::MAX, u64::MAX, 2, "━━");
    }
}
