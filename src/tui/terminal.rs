//! The terminal as the screen needs it, and as it was before: restored on every way out.

use base64::Engine as _;
use crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture};
use crossterm::terminal::{
    self, BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
};
use crossterm::{cursor, execute, queue};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use std::io::{self, BufWriter, Stdout, Write};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread::{self, ThreadId};

/// Terminals take no more than this into their clipboard at once.
const CLIPBOARD: usize = 74_000;

/// Whether the terminal is in the screen's state.
static ACTIVE: AtomicBool = AtomicBool::new(false);
/// The thread that draws: a panic there ends the screen, one elsewhere is only told.
static OWNER: Mutex<Option<ThreadId>> = Mutex::new(None);
/// Panics of other threads, to be told by the screen.
static MISHAPS: Mutex<Vec<String>> = Mutex::new(Vec::new());
const MOST_MISHAPS: usize = 16;

/// The terminal while the screen has it. Dropping it gives it back.
pub(super) struct Screen {
    /// Never dropped: it would say on standard error that it cannot show the cursor, and panic where the window that was
    /// both is closed.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<BufWriter<Stdout>>>>,
}

impl Screen {
    /// Takes the terminal: raw mode, the alternate screen, the mouse, bracketed paste.
    pub(super) fn open() -> io::Result<Screen> {
        install_hook();
        *OWNER.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current().id());
        enter()?;
        let out = BufWriter::with_capacity(1 << 16, io::stdout());
        match Terminal::new(CrosstermBackend::new(out)) {
            Ok(terminal) => Ok(Screen { terminal: ManuallyDrop::new(terminal) }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> io::Result<(u16, u16)> {
        self.terminal.size().map(|size| (size.width, size.height))
    }

    /// Draws a frame with what `draw` puts into the buffer; it answers with the cursor's place if it is seen.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Buffer) -> Option<Position>) -> io::Result<()> {
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| {
            if let Some(position) = draw(frame.buffer_mut()) {
                frame.set_cursor_position(position);
            }
        })?;
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)
    }

    /// Draws every cell again the next time.
    pub(super) fn redraw(&mut self) -> io::Result<()> {
        // `clear` would ask the terminal where its cursor is, and wait for an answer that may never come.
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::new(0, 0, size.width, size.height))
    }

    /// Gives the terminal back for a while; [`Screen::take`] takes it again.
    pub(super) fn give(&mut self) {
        restore();
    }

    pub(super) fn take(&mut self) -> io::Result<()> {
        if !ACTIVE.load(Ordering::SeqCst) {
            enter()?;
        }
        self.redraw()
    }

    /// After the program was stopped and continued from outside: whatever the terminal is like now, anew.
    pub(super) fn retake(&mut self) -> io::Result<()> {
        ACTIVE.store(false, Ordering::SeqCst);
        // It would be taken to be raw still.
        terminal::disable_raw_mode()?;
        self.take()
    }

    /// Puts text into the clipboard of the terminal (OSC 52). `false` if it is too much.
    pub(super) fn copy(&mut self, text: &str) -> io::Result<bool> {
        if text.len() > CLIPBOARD {
            return Ok(false);
        }
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        let out = self.terminal.backend_mut();
        write!(out, "\x1b]52;c;{encoded}\x07")?;
        out.flush()?;
        Ok(true)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn enter() -> io::Result<()> {
    terminal::enable_raw_mode()?;
    ACTIVE.store(true, Ordering::SeqCst);
    let entered = execute!(io::stdout(), EnterAlternateScreen, EnableMouseCapture, EnableBracketedPaste, cursor::Hide);
    if entered.is_err() {
        restore();
    }
    entered
}

/// Gives the terminal back if the screen has it. Errors are of no use here: the terminal may be gone.
fn restore() {
    if ACTIVE.swap(false, Ordering::SeqCst) {
        let _ = execute!(
            io::stdout(),
            EndSynchronizedUpdate,
            DisableBracketedPaste,
            DisableMouseCapture,
            LeaveAlternateScreen,
            cursor::Show
        );
        let _ = terminal::disable_raw_mode();
    }
}

/// Panics that happened beside the screen since this was asked last.
pub(super) fn mishaps() -> Vec<String> {
    std::mem::take(&mut *MISHAPS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A panic must be read on a whole terminal; one of a background thread must not draw into the screen.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let owner = *OWNER.lock().unwrap_or_else(PoisonError::into_inner);
            let own = owner == Some(thread::current().id());
            if ACTIVE.load(Ordering::SeqCst) && !own {
                let mut mishaps = MISHAPS.lock().unwrap_or_else(PoisonError::into_inner);
                if mishaps.len() < MOST_MISHAPS {
                    mishaps.push(format!("an error of the program's own: {info}"));
                }
                return;
            }
            restore();
            previous(info);
        }));
    });
}
