//! What is in an archive, as lines to scroll through.

use super::ansi::Line;
use super::pager::Text;
use super::tree::columns;
use crate::image::listing::{Listing, Member};
use crate::tui::text;
use ratatui::style::{Modifier, Style};
use std::borrow::Cow;
use std::sync::Arc;

#[derive(Debug)]
pub struct ArchiveText {
    listing: Arc<Listing>,
}

impl ArchiveText {
    pub fn new(listing: Arc<Listing>) -> ArchiveText {
        ArchiveText { listing }
    }

    /// `tar, gzip: 12 members, 3.1 MB unpacked`, and why it may not be all.
    pub fn summary(&self) -> String {
        let listing = &*self.listing;
        let bytes = listing.members.iter().map(|it| it.size).fold(0, u64::saturating_add);
        let rest = listing.incomplete.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
        let members = text::count(listing.members.len(), "member");
        format!("{}: {members}, {} unpacked{rest}", listing.format, text::size(bytes))
    }
}

impl Text for ArchiveText {
    fn len(&self) -> usize {
        self.listing.members.len()
    }

    fn line(&self, index: usize) -> Option<Cow<'_, Line>> {
        self.listing.members.get(index).map(|member| Cow::Owned(line(member)))
    }
}

fn line(member: &Member) -> Line {
    let mode = match member.mode {
        Some(mode) => format!("{}{}", member.kind, columns::permissions(mode)),
        None => format!("{}?????????", member.kind),
    };
    let time = member.mtime.map(columns::time).unwrap_or_default();
    let facts = format!("{mode} {:>9} {time:<16} ", text::size(member.size));
    let mut shown = format!("{facts}{}", text::sanitise_bytes(&member.path));
    if !member.target.is_empty() {
        shown.push_str(&format!(" -> {}", text::sanitise_bytes(&member.target)));
    }
    let runs = [(facts.len() as u32, Style::new().add_modifier(Modifier::DIM)), (shown.len() as u32, Style::new())];
    Line { text: shown.into(), runs: runs.into(), stderr: false }
}

#[cfg(test)]
mod tests {
    use super::super::pager;
    use super::*;
    use bstr::BString;

    #[test]
    fn members_are_lines() {
        let member = |path: &str, kind, mode, target: &str| Member {
            path: path.into(),
            kind,
            mode,
            size: 1500,
            mtime: Some(0),
            target: BString::from(target),
        };
        let members = vec![
            member("bin/\u{1b}[31mtool", '-', Some(0o4755), ""),
            member("link", 'l', Some(0o777), "to"),
            Member { mtime: None, ..member("a.class", '-', None, "") },
        ];
        let listing = Listing { format: "tar".to_owned(), members, incomplete: Some("cut".to_owned()) };
        let text = ArchiveText::new(Arc::new(listing));
        let lines: Vec<String> = (0..text.len()).map(|row| text.line(row).unwrap().text.to_string()).collect();
        assert_eq!(
            lines,
            [
                "-rwsr-xr-x    1.5 kB 1970-01-01 00:00 bin/^[[31mtool",
                "lrwxrwxrwx    1.5 kB 1970-01-01 00:00 link -> to",
                "-?????????    1.5 kB                  a.class",
            ]
        );
        assert_eq!(text.summary(), "tar: 3 members, 4.5 kB unpacked; cut");
        assert_eq!(
            (pager::count(&text, "tool"), pager::find(&text, "class", 0, true), pager::find(&text, "nowhere", 0, true)),
            (1, Some(2), None)
        );
    }
}
