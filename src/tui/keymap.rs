//! The keys: one table that drives dispatch, the help overlay and the README.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::fmt;

/// Where a key is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Context {
    /// Everywhere, unless the pane with the focus says otherwise.
    Global,
    /// While a build is debugged.
    Debugger,
    /// While an image is explored.
    Explorer,
    Stages,
    Source,
    Layer,
    Files,
    Output,
    /// A file beside the pane.
    Viewer,
    /// The shell's pane, while it is not typed into.
    Shell,
    /// The shell, while it gets the keys.
    Typing,
    Variables,
    Breakpoints,
    Image,
    /// The list of branches, while it is open.
    Branches,
    /// The layers of an image that is explored.
    Layers,
    /// The bytes of an image as a picture.
    Map,
    /// What is dead in an image.
    Waste,
    /// What flows into an image, as a picture.
    Flow,
}

impl Context {
    /// As the help and the README head it.
    pub fn title(self) -> &'static str {
        match self {
            Context::Global => "Everywhere",
            Context::Debugger => "Debugging a build",
            Context::Explorer => "Exploring an image",
            Context::Stages => "Stages",
            Context::Source => "Dockerfile",
            Context::Layer => "Layer",
            Context::Files => "Files",
            Context::Output => "Output",
            Context::Viewer => "An open file",
            Context::Shell | Context::Typing => "Shell",
            Context::Variables => "Variables",
            Context::Breakpoints => "Breakpoints",
            Context::Image => "Image",
            Context::Branches => "Branches",
            Context::Layers => "Layers",
            Context::Map => "Map",
            Context::Waste => "Waste",
            Context::Flow => "The flow of bytes",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    StepOver,
    StepIn,
    StepOut,
    Continue,
    BackOver,
    BackIn,
    BackOut,
    BackContinue,
    RunToCursor,
    Goto,
    Pause,
    Restart,
    Retry,
    Edit,
    ToggleBreakpoint,
    /// On the selected path.
    Watch,
    ShellAfter,
    ShellBefore,
    LeaveShell,
    EnterShell,
    FocusNext,
    FocusPrevious,
    Focus(u8),
    /// The list of branches.
    Branches,
    /// The track of the next platform, and of the one before.
    NextTrack,
    PreviousTrack,
    /// The image's bytes as a picture, or as a list.
    Picture,
    Zoom,
    Find,
    FindNext,
    FindPrevious,
    CommandLine,
    Help,
    Close,
    Quit,
    Interrupt,
    Suspend,
    Redraw,
    /// Moves in the pane with the focus.
    Move(Motion),
    /// What Enter does in the pane with the focus.
    Open,
    EnableBreakpoint,
    RemoveBreakpoint,
    /// The point that the layer's pane compares with.
    Mark,
    /// Writes out what is selected.
    Extract,
    /// The key goes to the pane's widget.
    Pane,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Motion {
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    First,
    Last,
}

impl Motion {
    /// The key that widgets know it by, whichever was pressed.
    pub fn key(self) -> KeyEvent {
        let code = match self {
            Motion::Up => KeyCode::Up,
            Motion::Down => KeyCode::Down,
            Motion::Left => KeyCode::Left,
            Motion::Right => KeyCode::Right,
            Motion::PageUp => KeyCode::PageUp,
            Motion::PageDown => KeyCode::PageDown,
            Motion::First => KeyCode::Home,
            Motion::Last => KeyCode::End,
        };
        KeyEvent::new(code, KeyModifiers::NONE)
    }
}

/// One key with its modifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    code: KeyCode,
    modifiers: KeyModifiers,
}

const fn plain(code: KeyCode) -> Key {
    Key { code, modifiers: KeyModifiers::NONE }
}

const fn ch(c: char) -> Key {
    plain(KeyCode::Char(c))
}

const fn f(number: u8) -> Key {
    plain(KeyCode::F(number))
}

const fn ctrl(c: char) -> Key {
    Key { code: KeyCode::Char(c), modifiers: KeyModifiers::CONTROL }
}

const fn shift(code: KeyCode) -> Key {
    Key { code, modifiers: KeyModifiers::SHIFT }
}

impl From<KeyEvent> for Key {
    /// Terminals tell the same key in several ways: a capital letter with or without Shift, `Ctrl-]` as the
    /// digit that shares its code.
    fn from(event: KeyEvent) -> Key {
        let mut modifiers = event.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT);
        let mut code = event.code;
        match code {
            KeyCode::Char('5') if modifiers.contains(KeyModifiers::CONTROL) => code = KeyCode::Char(']'),
            KeyCode::Char(c) if modifiers.contains(KeyModifiers::CONTROL) => {
                code = KeyCode::Char(c.to_ascii_lowercase());
                modifiers -= KeyModifiers::SHIFT;
            }
            KeyCode::Char(_) => modifiers -= KeyModifiers::SHIFT,
            KeyCode::BackTab => modifiers -= KeyModifiers::SHIFT,
            // xterm and its kin tell Shift-F1 to F12 as F13 to F24.
            KeyCode::F(number @ 13..=24) => {
                code = KeyCode::F(number - 12);
                modifiers |= KeyModifiers::SHIFT;
            }
            _ => {}
        }
        Key { code, modifiers }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.modifiers.contains(KeyModifiers::CONTROL) {
            f.write_str("Ctrl-")?;
        }
        if self.modifiers.contains(KeyModifiers::ALT) {
            f.write_str("Alt-")?;
        }
        if self.modifiers.contains(KeyModifiers::SHIFT) {
            f.write_str("Shift-")?;
        }
        match self.code {
            KeyCode::Char(' ') => f.write_str("Space"),
            KeyCode::Char(c) if self.modifiers.contains(KeyModifiers::CONTROL) => write!(f, "{}", c.to_uppercase()),
            KeyCode::Char(c) => write!(f, "{c}"),
            KeyCode::F(number) => write!(f, "F{number}"),
            KeyCode::Up => f.write_str("Up"),
            KeyCode::Down => f.write_str("Down"),
            KeyCode::Left => f.write_str("Left"),
            KeyCode::Right => f.write_str("Right"),
            KeyCode::PageUp => f.write_str("PgUp"),
            KeyCode::PageDown => f.write_str("PgDn"),
            KeyCode::BackTab => f.write_str("Shift-Tab"),
            KeyCode::Delete => f.write_str("Del"),
            code => write!(f, "{code:?}"),
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    pub context: Context,
    pub keys: &'static [Key],
    pub action: Action,
    /// For the help and the README.
    pub help: &'static str,
}

const fn bind(context: Context, keys: &'static [Key], action: Action, help: &'static str) -> Binding {
    Binding { context, keys, action, help }
}

use Action as A;
use Context as C;

/// All keys. Where two lines share context, help and action, only the first is shown.
pub const TABLE: &[Binding] = &[
    bind(C::Debugger, &[ch('n'), f(10)], A::StepOver, "step over: run one instruction, and past it"),
    bind(C::Debugger, &[ch('s'), f(11)], A::StepIn, "step into the stage that a `COPY --from` or `FROM` reads"),
    bind(C::Debugger, &[ch('f'), shift(KeyCode::F(11))], A::StepOut, "finish the stage, back to what uses it"),
    bind(C::Debugger, &[ch('c'), f(5)], A::Continue, "continue to the next breakpoint, failure or the end"),
    bind(C::Debugger, &[ch('N')], A::BackOver, "step over, backwards; going back runs nothing"),
    bind(C::Debugger, &[ch('S')], A::BackIn, "step into, backwards"),
    bind(C::Debugger, &[ch('F')], A::BackOut, "back to where the stage was entered"),
    bind(C::Debugger, &[ch('C')], A::BackContinue, "back to the breakpoint before, or to the start"),
    bind(C::Debugger, &[ch('g')], A::RunToCursor, "run to the selected line"),
    bind(C::Debugger, &[ch('.')], A::Goto, "go to the selected line, if it has been reached; runs nothing"),
    bind(C::Debugger, &[ch('b'), f(9)], A::ToggleBreakpoint, "set or remove a breakpoint on the selected line"),
    bind(C::Debugger, &[ch('w')], A::Watch, "watch the selected path: stop after what changes it, or no longer"),
    bind(C::Debugger, &[ch('p'), f(6)], A::Pause, "pause before the next instruction"),
    bind(C::Debugger, &[ctrl('c')], A::Interrupt, "cancel the instruction that runs; otherwise leave"),
    bind(C::Debugger, &[ch('r')], A::Restart, "restart; what was run is kept"),
    bind(C::Debugger, &[ch('R')], A::Retry, "run the last instruction again, without the cache"),
    bind(C::Debugger, &[ch('e')], A::Edit, "edit the Dockerfile in $EDITOR, then reload it"),
    bind(C::Debugger, &[ch('t'), ch('!')], A::ShellAfter, "shell here; after a failure, in what it left"),
    bind(C::Debugger, &[ch('T')], A::ShellBefore, "shell before the instruction that failed or ran last"),
    bind(C::Debugger, &[ch('1')], A::Focus(1), "Stages"),
    bind(C::Debugger, &[ch('2')], A::Focus(2), "Dockerfile"),
    bind(C::Debugger, &[ch('3')], A::Focus(3), "Layer: what the instruction changed"),
    bind(C::Debugger, &[ch('4')], A::Focus(4), "Files: the whole file system"),
    bind(C::Debugger, &[ch('5'), ch('L')], A::Focus(5), "Output"),
    bind(C::Debugger, &[ch('6')], A::Focus(6), "Shell"),
    bind(C::Debugger, &[ch('7')], A::Focus(7), "Variables"),
    bind(C::Debugger, &[ch('8'), ch('B')], A::Focus(8), "Breakpoints"),
    bind(C::Debugger, &[ch('9')], A::Focus(9), "Image: what ships, and where its bytes come from"),
    bind(C::Debugger, &[ch('m')], A::Picture, "the image's bytes as a picture of what flows where, or as a list"),
    bind(C::Debugger, &[ch('0')], A::Branches, "Branches: other arguments, another file; go to one"),
    bind(C::Debugger, &[ch('>')], A::NextTrack, "the next platform's track, of several (`--platform A,B`)"),
    bind(C::Debugger, &[ch('<')], A::PreviousTrack, "the previous platform's track"),
    bind(C::Debugger, &[ch(':')], A::CommandLine, "command line; Tab completes, `:help` lists the commands"),
    bind(
        C::Explorer,
        &[ch('1')],
        A::Focus(1),
        "Layers: the instructions and what they weigh; first the whole image, with --against",
    ),
    bind(C::Explorer, &[ch('2')], A::Focus(2), "Details of the selected layer, and of the image"),
    bind(C::Explorer, &[ch('3')], A::Focus(3), "Layer: what the selected layer changed"),
    bind(C::Explorer, &[ch('4')], A::Focus(4), "Files: the whole file system at the selected layer"),
    bind(C::Explorer, &[ch('5')], A::Focus(5), "Map: the image's bytes as a picture"),
    bind(C::Explorer, &[ch('6')], A::Focus(6), "Waste: what is dead in the image, or there twice"),
    bind(C::Explorer, &[ch('7')], A::Focus(7), "Flow: where the image's bytes come from, and what stayed behind"),
    bind(C::Explorer, &[ch('e')], A::Extract, "extract the file or directory; of a layer, the whole file system"),
    bind(C::Explorer, &[ch('r')], A::Retry, "read again, where not all layers could be read"),
    bind(C::Explorer, &[ch('n')], A::FindNext, "next hit"),
    bind(C::Explorer, &[ch('N')], A::FindPrevious, "previous hit"),
    bind(C::Explorer, &[ch('g')], A::Move(Motion::First), "to the top"),
    bind(C::Explorer, &[ctrl('c')], A::Interrupt, "leave"),
    bind(C::Global, &[plain(KeyCode::Up), ch('k')], A::Move(Motion::Up), "up"),
    bind(C::Global, &[plain(KeyCode::Down), ch('j')], A::Move(Motion::Down), "down"),
    bind(C::Global, &[plain(KeyCode::Left), ch('h')], A::Move(Motion::Left), "left"),
    bind(C::Global, &[plain(KeyCode::Right), ch('l')], A::Move(Motion::Right), "right"),
    bind(C::Global, &[plain(KeyCode::PageUp), ctrl('b')], A::Move(Motion::PageUp), "a page up"),
    bind(C::Global, &[ctrl('u')], A::Move(Motion::PageUp), "a page up"),
    bind(C::Global, &[plain(KeyCode::PageDown), ctrl('f')], A::Move(Motion::PageDown), "a page down"),
    bind(C::Global, &[ctrl('d')], A::Move(Motion::PageDown), "a page down"),
    bind(C::Global, &[plain(KeyCode::Home)], A::Move(Motion::First), "to the top"),
    bind(C::Global, &[plain(KeyCode::End), ch('G')], A::Move(Motion::Last), "to the end"),
    bind(C::Global, &[plain(KeyCode::Tab)], A::FocusNext, "next pane"),
    bind(C::Global, &[plain(KeyCode::BackTab)], A::FocusPrevious, "previous pane"),
    bind(C::Global, &[ch('z')], A::Zoom, "give the pane the whole screen, and back"),
    bind(C::Global, &[ch('d')], A::Mark, "compare with the state after the selected instruction, or no longer"),
    bind(C::Global, &[ch('/')], A::Find, "find in the pane"),
    bind(C::Global, &[ch(']')], A::FindNext, "next hit"),
    bind(C::Global, &[ch('[')], A::FindPrevious, "previous hit"),
    bind(C::Global, &[ch('?'), f(1)], A::Help, "all keys"),
    bind(C::Global, &[plain(KeyCode::Esc)], A::Close, "close what is open; back to where the build stands"),
    bind(C::Global, &[ctrl('l')], A::Redraw, "draw the screen anew"),
    bind(C::Global, &[ctrl('z')], A::Suspend, "suspend"),
    bind(C::Global, &[ch('q')], A::Quit, "leave"),
    bind(C::Stages, &[plain(KeyCode::Enter)], A::Open, "select the stage's first line in the Dockerfile"),
    bind(C::Source, &[plain(KeyCode::Enter)], A::Open, "look into the layer of the selected instruction"),
    bind(C::Layer, &[plain(KeyCode::Enter)], A::Pane, "look into the file beside it, or open the directory"),
    bind(C::Layer, &[ch(' ')], A::Pane, "open or close the directory"),
    bind(C::Layer, &[ch('*')], A::Pane, "open everything, or close it"),
    bind(C::Layer, &[ch('o')], A::Pane, "order by name, size, change"),
    bind(C::Layer, &[ch('i')], A::Pane, "show or hide mode, owner and time"),
    bind(C::Layer, &[ch('v')], A::Pane, "only what was found, or everything again"),
    bind(C::Layer, &[ch('x')], A::Pane, "extract the file or directory"),
    bind(C::Layer, &[ch('y')], A::Pane, "copy the path to the clipboard"),
    bind(C::Layer, &[ch('P')], A::Pane, "the packages that it installed or took out, or its files"),
    bind(C::Files, &[plain(KeyCode::Enter)], A::Pane, "look into the file beside it, or open the directory"),
    bind(C::Files, &[ch(' ')], A::Pane, "open or close the directory"),
    bind(C::Files, &[ch('*')], A::Pane, "open everything, or close it"),
    bind(C::Files, &[ch('o')], A::Pane, "order by name, size, change"),
    bind(C::Files, &[ch('i')], A::Pane, "show or hide mode, owner and time"),
    bind(C::Files, &[ch('v')], A::Pane, "only what was found, or everything again"),
    bind(C::Files, &[ch('x')], A::Pane, "extract the file or directory"),
    bind(C::Files, &[ch('y')], A::Pane, "copy the path to the clipboard"),
    bind(C::Files, &[ch('a')], A::Pane, "only what the instruction changed, or all files"),
    bind(C::Breakpoints, &[plain(KeyCode::Enter)], A::Open, "select its line"),
    bind(C::Breakpoints, &[ch(' ')], A::EnableBreakpoint, "enable or disable it"),
    bind(C::Breakpoints, &[plain(KeyCode::Delete), ch('x')], A::RemoveBreakpoint, "remove it"),
    bind(
        C::Image,
        &[plain(KeyCode::Enter), ch(' ')],
        A::Open,
        "open the stage or the instruction, or look into the file",
    ),
    bind(C::Branches, &[plain(KeyCode::Enter)], A::Open, "go to the branch, where it was left; runs nothing"),
    bind(C::Branches, &[ch('d')], A::Mark, "compare each file system with the branch's"),
    bind(C::Output, &[ch('w')], A::Pane, "wrap long lines, or not"),
    bind(C::Output, &[ch(' ')], A::Pane, "a page down"),
    bind(C::Output, &[ch('y')], A::Pane, "copy the lines in sight to the clipboard"),
    bind(C::Viewer, &[ch('d')], A::Pane, "what changed in the file, or its text"),
    bind(C::Viewer, &[ch('m')], A::Pane, "the file's bytes, its text, or what is in an archive"),
    bind(C::Viewer, &[ch('w')], A::Pane, "wrap long lines, or not"),
    bind(C::Viewer, &[ch(' ')], A::Pane, "a page down"),
    bind(C::Viewer, &[ch('x')], A::Pane, "extract the file"),
    bind(C::Viewer, &[ch('y')], A::Pane, "copy the path to the clipboard"),
    bind(
        C::Shell,
        &[plain(KeyCode::Enter)],
        A::EnterShell,
        "type into the shell; what it has changed is gone through like a layer",
    ),
    bind(C::Typing, &[ctrl(']')], A::LeaveShell, "stop typing into the shell; it stays open"),
    bind(C::Layers, &[plain(KeyCode::Enter)], A::Open, "look into the layer"),
    bind(C::Map, &[plain(KeyCode::Enter), ch(' ')], A::Pane, "into the directory, or look into the file"),
    bind(C::Map, &[plain(KeyCode::Backspace), ch('-')], A::Pane, "out of the directory"),
    bind(C::Map, &[ch('x')], A::Pane, "extract the file or directory"),
    bind(C::Map, &[ch('y')], A::Pane, "copy the path to the clipboard"),
    bind(C::Waste, &[plain(KeyCode::Enter)], A::Open, "to the file, in the layer that wrote it"),
    bind(C::Waste, &[ch('y')], A::Pane, "copy the path to the clipboard"),
    bind(
        C::Flow,
        &[plain(KeyCode::Enter), ch(' ')],
        A::Pane,
        "into the stage, to its instructions; to their files; look into the file",
    ),
    bind(C::Flow, &[plain(KeyCode::Backspace), ch('-')], A::Pane, "out again"),
    bind(C::Flow, &[ch('x')], A::Pane, "extract the file"),
    bind(C::Flow, &[ch('y')], A::Pane, "copy the path to the clipboard"),
];

/// What a key means in a pane of the debugger or the explorer.
pub fn lookup(screen: Context, pane: Context, key: Key) -> Option<Action> {
    let find = |context: &Context| TABLE.iter().find(|it| it.context == *context && it.keys.contains(&key));
    // A shell that is typed into gets all keys but its own.
    let chain: &[Context] = match pane {
        Context::Typing => &[Context::Typing],
        _ => &[pane, screen, Context::Global],
    };
    chain.iter().find_map(find).map(|binding| binding.action)
}

/// The key to show for an action: the first of its line.
pub fn key_of(action: Action) -> String {
    let binding = TABLE.iter().find(|it| it.action == action);
    binding.and_then(|it| it.keys.first()).map(Key::to_string).unwrap_or_default()
}

/// The key to show for an action on a screen, which may have one of its own for it.
pub fn key_on(screen: Context, action: Action) -> String {
    let binding = TABLE.iter().find(|it| it.action == action && belongs(it.context, screen));
    binding.and_then(|it| it.keys.first()).map(Key::to_string).unwrap_or_default()
}

/// Whether a context is part of a screen, which is that of the debugger or of the explorer.
pub fn belongs(context: Context, screen: Context) -> bool {
    match context {
        Context::Global | Context::Layer | Context::Files | Context::Viewer | Context::Flow => true,
        Context::Explorer | Context::Layers | Context::Map | Context::Waste => screen == Context::Explorer,
        _ => screen == Context::Debugger,
    }
}

/// The table in the parts that the help shows, one for each heading.
pub fn sections() -> Vec<(&'static str, Vec<&'static Binding>)> {
    let mut sections: Vec<(&'static str, Vec<&'static Binding>)> = Vec::new();
    for binding in TABLE {
        let title = binding.context.title();
        match sections.iter_mut().find(|(it, _)| *it == title) {
            Some((_, bindings)) => bindings.push(binding),
            None => sections.push((title, vec![binding])),
        }
    }
    sections
}

/// All keys of a line, as shown: `n, F10`.
pub fn keys_text(binding: &Binding) -> String {
    binding.keys.iter().map(Key::to_string).collect::<Vec<_>>().join(", ")
}

/// The table as the README holds it.
pub fn markdown() -> String {
    let mut out = String::new();
    for (title, bindings) in sections() {
        out.push_str(&format!("| {title} | |\n|---|---|\n"));
        for binding in bindings {
            let keys: Vec<String> = binding.keys.iter().map(|key| format!("`{key}`")).collect();
            out.push_str(&format!("| {} | {} |\n", keys.join(" "), binding.help));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn press(code: KeyCode, modifiers: KeyModifiers) -> Key {
        Key::from(KeyEvent::new(code, modifiers))
    }

    fn check(code: KeyCode, modifiers: KeyModifiers, context: Context, expected: Option<Action>) {
        assert_eq!(lookup(Context::Debugger, context, press(code, modifiers)), expected, "{code:?} {modifiers:?}");
    }

    #[test]
    fn keys_are_found_however_the_terminal_tells_them() {
        let none = KeyModifiers::NONE;
        check(KeyCode::Char('n'), none, Context::Source, Some(Action::StepOver));
        check(KeyCode::Char('N'), KeyModifiers::SHIFT, Context::Source, Some(Action::BackOver));
        check(KeyCode::Char('N'), none, Context::Source, Some(Action::BackOver));
        check(KeyCode::F(23), none, Context::Source, Some(Action::StepOut));
        check(KeyCode::F(11), KeyModifiers::SHIFT, Context::Source, Some(Action::StepOut));
        check(KeyCode::BackTab, KeyModifiers::SHIFT, Context::Source, Some(Action::FocusPrevious));
        check(KeyCode::Char('5'), KeyModifiers::CONTROL, Context::Typing, Some(Action::LeaveShell));
        check(KeyCode::Char(']'), KeyModifiers::CONTROL, Context::Typing, Some(Action::LeaveShell));
        check(KeyCode::Char('n'), none, Context::Typing, None);
        check(KeyCode::Char('c'), KeyModifiers::CONTROL, Context::Typing, None);
        check(KeyCode::Char(' '), none, Context::Breakpoints, Some(Action::EnableBreakpoint));
        check(KeyCode::Char('n'), KeyModifiers::ALT, Context::Source, None);
        let exploring = |c| lookup(Context::Explorer, Context::Files, press(KeyCode::Char(c), none));
        assert_eq!((exploring('n'), exploring('a')), (Some(Action::FindNext), Some(Action::Pane)));
    }

    #[test]
    fn a_key_is_named_that_the_screen_has() {
        let check = |screen, action, expected: &str| assert_eq!(key_on(screen, action), expected);
        check(Context::Debugger, Action::FindNext, "]");
        check(Context::Explorer, Action::FindNext, "n");
        check(Context::Explorer, Action::Find, "/");
        check(Context::Explorer, Action::StepOver, "");
    }

    #[test]
    fn no_key_means_two_things_in_one_context() {
        let mut seen = HashSet::new();
        for binding in TABLE {
            for key in binding.keys {
                assert!(seen.insert((binding.context, *key)), "{key} twice in {:?}", binding.context);
            }
        }
    }

    #[test]
    fn the_readme_holds_the_table() {
        let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
        let (_, rest) = readme.split_once("<!-- keys -->\n").expect("README.md marks where the keys begin");
        let (table, _) = rest.split_once("<!-- end of keys -->").expect("README.md marks where the keys end");
        assert!(table == markdown(), "README.md must hold this between its marks:\n<!-- keys -->\n{}", markdown());
    }
}
