//! Colours and signs by meaning, for what the terminal can show.
//!
//! Every meaning has a sign or a letter as well, so a screen without colours says the same.

use super::signs::{ASCII, Signs, UNICODE};
use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;
use std::str::FromStr;

const DARK: &str = include_str!("../../assets/dark.toml");
const LIGHT: &str = include_str!("../../assets/light.toml");

/// How things look here: styles by meaning, and the signs to draw with. What a view draws with.
#[derive(Debug, Clone)]
pub struct Look {
    /// Everything that nothing else is drawn on.
    pub ground: Style,
    pub text: Style,
    /// What matters less: hints, units, what is not needed.
    pub muted: Style,
    pub border: Style,
    /// Where the focus and the build are.
    pub accent: Style,
    pub added: Style,
    pub changed: Style,
    pub removed: Style,
    pub warning: Style,
    /// To be patched over the line where the build stands.
    pub stop: Style,
    /// To be patched over the selected line of the pane that has the focus.
    pub selection: Style,
    /// The same in a pane that does not have it.
    pub selection_idle: Style,
    pub keyword: Style,
    pub flag: Style,
    pub string: Style,
    pub variable: Style,
    pub comment: Style,
    /// Backgrounds of areas that text stands on, calm and easily told apart; none where there are too few colours.
    pub tints: Option<Tints>,
    /// Colours of streams in a picture; none where there are too few colours.
    pub streams: Option<Streams>,
    /// Backgrounds of lines that were added and removed, where the text on them has colours of its own.
    pub grounds: Option<[Style; 2]>,
    pub signs: &'static Signs,
    pub depth: Depth,
}

impl Look {
    pub fn new(theme: &Theme, depth: Depth, ascii: bool) -> Look {
        let fg = |paint: &Paint| paint.at(depth).map_or(Style::new(), |color| Style::new().fg(color));
        let bg = |paint: &Paint| paint.at(depth).filter(|it| *it != Color::Reset).map(|it| Style::new().bg(it));
        let plain = depth == Depth::None;
        // Without colours the brightness of the text carries what it can.
        let or = |style: Style, modifier: Modifier| if plain { Style::new().add_modifier(modifier) } else { style };
        let reversed = Style::new().add_modifier(Modifier::REVERSED);
        let behind = theme.background.at(depth).map_or(Style::new(), |color| Style::new().bg(color));
        Look {
            ground: behind.patch(fg(&theme.text)),
            text: fg(&theme.text),
            muted: or(fg(&theme.muted), Modifier::DIM),
            border: or(fg(&theme.border), Modifier::DIM),
            accent: or(fg(&theme.accent), Modifier::BOLD),
            added: fg(&theme.added),
            changed: fg(&theme.changed),
            removed: or(fg(&theme.removed), Modifier::BOLD),
            warning: or(fg(&theme.warning), Modifier::BOLD),
            stop: bg(&theme.stop).unwrap_or(Style::new().add_modifier(Modifier::BOLD)),
            selection: bg(&theme.selection).unwrap_or(reversed),
            selection_idle: bg(&theme.selection).unwrap_or(Style::new().add_modifier(Modifier::UNDERLINED)),
            keyword: or(fg(&theme.keyword), Modifier::BOLD),
            flag: fg(&theme.flag),
            string: fg(&theme.string),
            variable: fg(&theme.variable),
            comment: or(fg(&theme.comment), Modifier::DIM),
            tints: tints(theme, depth),
            streams: streams(theme, depth),
            grounds: grounds(theme, depth),
            signs: if ascii { &ASCII } else { &UNICODE },
            depth,
        }
    }

    /// A style from outside, with the colours that can be shown here.
    pub fn fit(&self, style: Style) -> Style {
        let fit = |color: Option<Color>| color.and_then(|color| self.depth.fit(color));
        Style { fg: fit(style.fg), bg: fit(style.bg), ..style }
    }

    /// The colour of a kind of streams, where [`Look::streams`] has none.
    pub fn hue(&self, kind: usize) -> Style {
        [self.accent, self.variable, self.string, self.keyword, self.flag][kind % HUES]
    }

    /// The border of a pane.
    pub fn border_of(&self, focused: bool) -> Style {
        if focused { self.accent } else { self.border }
    }

    pub fn ascii(&self) -> bool {
        std::ptr::eq(self.signs, &ASCII)
    }
}

/// Areas in a picture of a file system.
#[derive(Debug, Clone, Copy)]
pub struct Tints {
    pub directory: Style,
    /// A directory in a directory.
    pub inner: Style,
    pub file: Style,
    pub rest: Style,
}

/// Kinds of streams that have a colour of their own.
pub const HUES: usize = 5;

/// Streams in a picture.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    /// Of each: where it begins and ends, on its way, and on its way while it is selected.
    pub hues: [[Color; 3]; HUES],
    /// What fades away, from where it begins.
    pub fading: [Color; 5],
}

fn streams(theme: &Theme, depth: Depth) -> Option<Streams> {
    let hue = |paint: &Paint| {
        Some([mixed(theme, paint, depth, 9)?, mixed(theme, paint, depth, 4)?, mixed(theme, paint, depth, 7)?])
    };
    let fade = |tenths: u16| mixed(theme, &theme.muted, depth, tenths);
    let paints = hues_of(theme);
    Some(Streams {
        hues: [hue(paints[0])?, hue(paints[1])?, hue(paints[2])?, hue(paints[3])?, hue(paints[4])?],
        fading: [fade(6)?, fade(4)?, fade(3)?, fade(2)?, fade(1)?],
    })
}

fn hues_of(theme: &Theme) -> [&Paint; HUES] {
    [&theme.accent, &theme.variable, &theme.string, &theme.keyword, &theme.flag]
}

fn tints(theme: &Theme, depth: Depth) -> Option<Tints> {
    Some(Tints {
        directory: tint(theme, &theme.accent, depth, 3)?,
        inner: tint(theme, &theme.accent, depth, 2)?,
        file: tint(theme, &theme.string, depth, 3)?,
        rest: tint(theme, &theme.muted, depth, 3)?,
    })
}

fn grounds(theme: &Theme, depth: Depth) -> Option<[Style; 2]> {
    Some([tint(theme, &theme.added, depth, 2)?, tint(theme, &theme.removed, depth, 2)?])
}

fn tint(theme: &Theme, paint: &Paint, depth: Depth, tenths: u16) -> Option<Style> {
    mixed(theme, paint, depth, tenths).map(|color| Style::new().bg(color))
}

/// The background with so many tenths of a colour in it.
fn mixed(theme: &Theme, paint: &Paint, depth: Depth, tenths: u16) -> Option<Color> {
    match (depth, theme.background.full, paint.full) {
        (Depth::Ansi256 | Depth::True, Color::Rgb(r, g, b), Color::Rgb(r2, g2, b2)) => {
            let mix =
                |ground: u8, color: u8| ((u16::from(ground) * (10 - tenths) + u16::from(color) * tenths) / 10) as u8;
            depth.fit(Color::Rgb(mix(r, r2), mix(g, g2), mix(b, b2)))
        }
        _ => None,
    }
}

/// How many colours a terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    None,
    Ansi16,
    Ansi256,
    True,
}

impl Depth {
    /// From the environment, as terminals announce themselves; `get` reads a variable.
    pub fn detect(get: impl Fn(&str) -> Option<String>) -> Depth {
        let set = |name: &str| get(name).filter(|value| !value.is_empty());
        let term = set("TERM").unwrap_or_default();
        if set("NO_COLOR").is_some() || term == "dumb" {
            return Depth::None;
        }
        if set("COLORTERM").is_some_and(|it| it == "truecolor" || it == "24bit") || term.ends_with("-direct") {
            return Depth::True;
        }
        match term.contains("256color") {
            true => Depth::Ansi256,
            false => Depth::Ansi16,
        }
    }
}

impl Depth {
    /// The colour as it can be shown, or the nearest to it.
    fn fit(self, color: Color) -> Option<Color> {
        match (self, color) {
            (Depth::None, _) => None,
            (Depth::True, color) => Some(color),
            (Depth::Ansi256, Color::Rgb(r, g, b)) => Some(Color::Indexed(nearest(r, g, b))),
            (Depth::Ansi16, Color::Rgb(r, g, b)) => Some(nearest_basic((r, g, b))),
            (Depth::Ansi16, Color::Indexed(number)) => Some(nearest_basic(indexed(number))),
            (Depth::Ansi256 | Depth::Ansi16, color) => Some(color),
        }
    }
}

/// Whether the locale can show more than ASCII; `get` reads an environment variable.
pub fn is_utf8(get: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &&str| get(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set).unwrap_or_default().to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Colours by meaning, as a theme file gives them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Theme {
    background: Paint,
    text: Paint,
    muted: Paint,
    border: Paint,
    accent: Paint,
    added: Paint,
    changed: Paint,
    removed: Paint,
    warning: Paint,
    stop: Paint,
    selection: Paint,
    keyword: Paint,
    flag: Paint,
    string: Paint,
    variable: Paint,
    comment: Paint,
}

/// Names of the themes that come with the program.
pub const THEMES: [&str; 2] = ["dark", "light"];

#[derive(Debug, thiserror::Error)]
pub enum ThemeError {
    #[error("the theme {0:?} is neither `dark` nor `light`, and there is no file of that name: {1}")]
    Unknown(String, std::io::Error),
    #[error("the theme file {0:?} is not understood: {1}")]
    Syntax(String, toml::de::Error),
}

impl Theme {
    pub fn parse(text: &str) -> Result<Theme, toml::de::Error> {
        toml::from_str(text)
    }

    pub fn dark() -> Theme {
        Theme::parse(DARK).expect("a theme of the program's own")
    }

    /// One of [`THEMES`], or the path of a file like those.
    pub fn load(name: &str) -> Result<Theme, ThemeError> {
        let text = match name {
            "dark" => DARK.to_owned(),
            "light" => LIGHT.to_owned(),
            path => std::fs::read_to_string(path).map_err(|error| ThemeError::Unknown(name.to_owned(), error))?,
        };
        Theme::parse(&text).map_err(|error| ThemeError::Syntax(name.to_owned(), error))
    }

    /// The name that fits the terminal's background, as far as it says (`COLORFGBG`).
    pub fn fitting(get: impl Fn(&str) -> Option<String>) -> &'static str {
        let background = get("COLORFGBG").and_then(|value| value.rsplit(';').next()?.parse::<u8>().ok());
        match background {
            Some(7 | 9..=15) => "light",
            _ => "dark",
        }
    }
}

/// One colour: for 24 bits, and for 16 colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "(String, String)")]
struct Paint {
    full: Color,
    basic: Color,
}

impl TryFrom<(String, String)> for Paint {
    type Error = String;

    fn try_from((full, basic): (String, String)) -> Result<Paint, String> {
        let full = match Color::from_str(&full) {
            Ok(color @ Color::Rgb(..)) => color,
            _ if full == "default" => Color::Reset,
            _ => return Err(format!("{full:?} is not a colour: give `#rrggbb` or `default`")),
        };
        let basic = match Color::from_str(&basic) {
            Ok(Color::Rgb(..) | Color::Indexed(_)) | Err(_) if basic != "default" => {
                return Err(format!("{basic:?} is none of the 16 colours: give a name like `lightblue`, or `default`"));
            }
            Ok(color) => color,
            Err(_) => Color::Reset,
        };
        Ok(Paint { full, basic })
    }
}

impl Paint {
    fn at(&self, depth: Depth) -> Option<Color> {
        match (depth, self.full) {
            (Depth::None, _) => None,
            (Depth::Ansi16, _) => Some(self.basic),
            (Depth::Ansi256, Color::Rgb(r, g, b)) => Some(Color::Indexed(nearest(r, g, b))),
            (Depth::Ansi256 | Depth::True, color) => Some(color),
        }
    }
}

type Channels = (u8, u8, u8);

/// The nearest of the 256 colours that are the same everywhere: the 6×6×6 cube and the 24 greys.
fn nearest(r: u8, g: u8, b: u8) -> u8 {
    (16..=255).min_by_key(|number| distance(indexed(*number), (r, g, b))).unwrap_or(7)
}

/// The nearest of the 16 colours as most terminals show them.
fn nearest_basic(color: Channels) -> Color {
    const BASIC: [(Channels, Color); 16] = [
        ((0, 0, 0), Color::Black),
        ((205, 0, 0), Color::Red),
        ((0, 205, 0), Color::Green),
        ((205, 205, 0), Color::Yellow),
        ((0, 0, 238), Color::Blue),
        ((205, 0, 205), Color::Magenta),
        ((0, 205, 205), Color::Cyan),
        ((229, 229, 229), Color::Gray),
        ((127, 127, 127), Color::DarkGray),
        ((255, 0, 0), Color::LightRed),
        ((0, 255, 0), Color::LightGreen),
        ((255, 255, 0), Color::LightYellow),
        ((92, 92, 255), Color::LightBlue),
        ((255, 0, 255), Color::LightMagenta),
        ((0, 255, 255), Color::LightCyan),
        ((255, 255, 255), Color::White),
    ];
    BASIC.iter().min_by_key(|(it, _)| distance(*it, color)).map_or(Color::Gray, |(_, color)| *color)
}

/// What the numbers from 16 on stand for; those below are the terminal's own affair.
fn indexed(number: u8) -> Channels {
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let step = |at: u8| STEPS[usize::from(at % 6)];
    match number {
        0..=15 => (128, 128, 128),
        16..=231 => (step((number - 16) / 36), step((number - 16) / 6), step(number - 16)),
        232..=255 => (8 + 10 * (number - 232), 8 + 10 * (number - 232), 8 + 10 * (number - 232)),
    }
}

fn distance(a: Channels, b: Channels) -> i32 {
    let square = |a: u8, b: u8| (i32::from(a) - i32::from(b)).pow(2);
    square(a.0, b.0) + square(a.1, b.1) + square(a.2, b.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'e>(pairs: &'e [(&'e str, &'e str)]) -> impl Fn(&str) -> Option<String> + 'e {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    fn check(pairs: &[(&str, &str)], expected: Depth) {
        assert_eq!(Depth::detect(env(pairs)), expected, "{pairs:?}");
    }

    #[test]
    fn depth_is_what_the_terminal_announces() {
        check(&[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")], Depth::True);
        check(&[("TERM", "xterm-256color")], Depth::Ansi256);
        check(&[("TERM", "linux")], Depth::Ansi16);
        check(&[("TERM", "dumb")], Depth::None);
        check(&[("TERM", "xterm-256color"), ("COLORTERM", "truecolor"), ("NO_COLOR", "1")], Depth::None);
        check(&[("TERM", "xterm"), ("NO_COLOR", "")], Depth::Ansi16);
    }

    #[test]
    fn the_locale_decides_about_signs() {
        assert!(is_utf8(env(&[("LANG", "de_DE.UTF-8")])));
        assert!(!is_utf8(env(&[("LANG", "de_DE.UTF-8"), ("LC_ALL", "C")])));
        assert!(!is_utf8(env(&[])));
    }

    #[test]
    fn the_themes_of_the_program_are_read() {
        for name in THEMES {
            let theme = Theme::load(name).unwrap();
            for depth in [Depth::None, Depth::Ansi16, Depth::Ansi256, Depth::True] {
                assert_eq!(Look::new(&theme, depth, true).signs.set, "*");
            }
        }
    }

    #[test]
    fn a_wrong_theme_says_what_is_wrong() {
        let wrong = DARK.replace("\"#6cb6ff\"", "\"bluish\"");
        assert!(Theme::parse(&wrong).unwrap_err().to_string().contains("\"bluish\" is not a colour"));
        let wrong = DARK.replace("\"cyan\"", "\"teal\"");
        assert!(Theme::parse(&wrong).unwrap_err().to_string().contains("\"teal\" is none of the 16"));
        assert!(matches!(Theme::load("no/such/file"), Err(ThemeError::Unknown(..))));
    }

    #[test]
    fn the_nearest_of_256() {
        assert_eq!(nearest(255, 0, 0), 196);
        assert_eq!(nearest(8, 8, 8), 232);
        assert_eq!(nearest(0, 0, 0), 16);
        assert_eq!(nearest(95, 135, 175), 67);
    }

    #[test]
    fn colours_from_outside_are_fitted() {
        let fit = |depth| {
            let style = Style::new().fg(Color::Rgb(250, 10, 10)).bg(Color::Indexed(22)).add_modifier(Modifier::BOLD);
            let fitted = Look::new(&Theme::dark(), depth, false).fit(style);
            assert_eq!(fitted.add_modifier, Modifier::BOLD);
            (fitted.fg, fitted.bg)
        };
        assert_eq!(fit(Depth::None), (None, None));
        assert_eq!(fit(Depth::Ansi16), (Some(Color::LightRed), Some(Color::Black)));
        assert_eq!(fit(Depth::Ansi256), (Some(Color::Indexed(196)), Some(Color::Indexed(22))));
        assert_eq!(fit(Depth::True), (Some(Color::Rgb(250, 10, 10)), Some(Color::Indexed(22))));
    }
}
