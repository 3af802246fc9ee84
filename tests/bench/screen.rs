//! What a key takes on the explorer's screen: from the key to the frame that answers it, on all of a large image.

use super::{millis, report};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use stagedive::image::inventory;
use stagedive::image::source::{self, Surroundings};
use stagedive::tui::Options;
use stagedive::tui::explore::answers::Subject;
use stagedive::tui::explore::draw::draw;
use stagedive::tui::explore::image::Image;
use stagedive::tui::explore::state::{Explorer, Selected};
use stagedive::tui::explore::update::{Effect, Message, update};
use stagedive::tui::explore::waste::Report;
use stagedive::tui::front::Heard;
use stagedive::tui::theme::{Depth, Look, Theme};
use stagedive::tui::views;
use std::path::Path;
use std::time::Duration;

const SIZE: (u16, u16) = (200, 60);

/// What is typed: a name for the list of the slowest, and the keys. `*` and `v` twice, so that all is closed again.
const SCRIPT: &[(&str, &str)] = &[
    ("to the files", "4"),
    ("move", "jjjjjjjjjjkkkkk"),
    ("open and close", " l h "),
    ("expand all", "*"),
    ("move in all", "jjjjjjjjjjkkkkk"),
    ("order", "ooo"),
    ("search", "/module-0\r"),
    ("next hit", "]]]]]["),
    ("hits only", "vv"),
    ("changed only", "aa"),
    ("fuzzy search", "/mdl7so\r"),
    ("hits only, fuzzy", "vv"),
    ("order of hits", "ooo"),
    ("search for next to all", "/e\r"),
    ("hits only, next to all", "vv"),
    ("changed only in a search", "aa"),
    ("changed hits only", "vaav"),
    ("collapse all", "*"),
    ("columns", "ii"),
    ("another layer", "1kkkk4"),
    ("one layer", "3jj*ooo/7\rvv*"),
    ("map", "5jl\r-"),
    ("waste", "6jjjj"),
    ("zoom", "zz"),
    ("compare", "1jmkk43"),
];

/// Prints the 99th percentile of all keys, and the keys that are slower.
pub(crate) fn keys(archive: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let scratch = tempfile::tempdir().expect("a directory");
    let place =
        Surroundings { scratch: scratch.path().to_owned(), docker: Default::default(), told: Default::default() };
    let name = format!("docker-archive:{}", archive.display());
    let platform = super::platform();
    let opened = runtime.block_on(source::open_in(&name, &platform, &place)).expect("the image");
    let options = inventory::Options { scratch: scratch.path().to_owned(), ..inventory::Options::default() };
    let read = runtime.block_on(inventory::read(&opened, &options, |_| ())).expect("its layers");
    let look = Look::new(&Theme::dark(), Depth::True, false);
    let explorer = Explorer::new(Image::new(&opened, None), None, &Options::default(), look, SIZE);
    let mut typist = Typist { runtime, explorer, buffer: Buffer::empty(Rect::new(0, 0, SIZE.0, SIZE.1)) };
    read.tree.bytes(stagedive::layers::FileTree::ROOT);
    typist.take(Message::Terminal(Heard::Resize(SIZE.0, SIZE.1)));
    typist.take(Message::Read(Box::new(Ok(read))));
    typist.explorer.selected = Selected::Layer(opened.layers.len() - 1);
    typist.take(Message::Terminal(Heard::Resize(SIZE.0, SIZE.1)));

    let mut times: Vec<(String, Duration)> = Vec::new();
    for _ in 0..3 {
        for (what, keys) in SCRIPT {
            for key in keys.chars() {
                let code = if key == '\r' { KeyCode::Enter } else { KeyCode::Char(key) };
                let frames = typist.press(code).into_iter().enumerate();
                times.extend(frames.map(|(at, time)| (format!("{what}, {key:?}, frame {at}"), time)));
            }
        }
    }
    times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    let promised = Duration::from_millis(5);
    let percentile = times.get(times.len() / 100).map_or(Duration::ZERO, |(_, time)| *time);
    report(&format!("key to frame, 99th of 100, {} frames", times.len()), percentile, promised);
    let mut told = std::collections::HashSet::new();
    for (what, time) in times.iter().filter(|(_, time)| *time > promised) {
        if told.insert(what) {
            println!("  slowest: {what:<47} {:>8.1} ms", millis(*time));
        }
    }
}

/// What this thread has had of a processor: others who use the machine do not make the screen slower. (The scheduler's
/// statistics tell the same, but only as of its last tick.)
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes a whole `timespec` and keeps nothing.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(done, 0, "this thread has a clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

struct Typist {
    runtime: tokio::runtime::Runtime,
    explorer: Explorer,
    buffer: Buffer,
}

impl Typist {
    /// The times of the frames that follow a key: its own, and one for each answer that comes later.
    fn press(&mut self, code: KeyCode) -> Vec<Duration> {
        self.take(Message::Terminal(Heard::Key(KeyEvent::new(code, KeyModifiers::NONE))))
    }

    fn take(&mut self, message: Message) -> Vec<Duration> {
        let (mut waiting, mut times) = (vec![message], Vec::new());
        while let Some(message) = waiting.pop() {
            let start = processor_time();
            let effects = update(&mut self.explorer, message);
            self.buffer.reset();
            draw(&mut self.explorer, &mut self.buffer);
            views::finish(&mut self.buffer, &self.explorer.look);
            times.push(processor_time().saturating_sub(start));
            for effect in effects {
                waiting.extend(self.answer(effect));
            }
        }
        times
    }

    /// What is done beside the screen.
    fn answer(&self, effect: Effect) -> Option<Message> {
        let image = &self.explorer.image;
        match effect {
            Effect::Load(slot, query) => {
                let subject = Subject::new(image, None);
                let answer = self.runtime.block_on(subject.answer(&query));
                Some(Message::Loaded { slot, query, answer })
            }
            Effect::Account => {
                let inventory = image.inventory.as_ref()?;
                Some(Message::Accounted(Box::new(Report::of(inventory, None))))
            }
            _ => None,
        }
    }
}
