//! Platforms as images name them: `os/architecture[/variant]`.
//!
//! Source: Go's names for systems and processors, with the aliases and default variants that containerd reads.

use std::fmt;
use std::str::FromStr;

/// The systems that can stand alone.
const SYSTEMS: [&str; 17] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

/// The architectures that can.
const ARCHITECTURES: [&str; 21] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "arm64",
    "arm64be",
    "armbe",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv64",
    "s390x",
    "sparc64",
    "wasm",
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    /// Empty where the architecture's plain form is meant: `arm64` is `v8`, `amd64` is `v1`.
    pub variant: String,
}

impl Platform {
    /// Aliases and default variants are brought to one spelling.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Platform {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant.to_ascii_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
            ("aarch64", variant) => ("arm64", variant),
            ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386", ""),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("powerpc64le", variant) => ("ppc64le", variant),
            ("loongarch64", variant) => ("loong64", variant),
            (architecture, variant) => (architecture, variant),
        };
        Platform { os, architecture: architecture.to_owned(), variant: variant.to_owned() }
    }

    /// A single word is a system (`linux`) or an architecture (`amd64`); the rest is the machine's. A system's version
    /// and features in parentheses are read and dropped, as Docker's client does.
    pub fn parse_on(text: &str, machine: &Platform) -> Result<Platform, ParsePlatformError> {
        let wrong = || ParsePlatformError(text.chars().take(100).collect());
        let mut parts: Vec<&str> = text.trim().split('/').collect();
        let system_has_options = parts[0].contains('(');
        parts[0] = without_options(parts[0]).ok_or_else(wrong)?;
        let well_formed = |part: &&str| !part.is_empty() && part.bytes().all(|b| is_plain(b) || b == b'.');
        if parts[0].contains('.') || !parts.iter().all(well_formed) {
            return Err(wrong());
        }
        match parts[..] {
            [word] => {
                let system = Platform::new(word, &machine.architecture, &machine.variant);
                let architecture = Platform::new(&machine.os, word, "");
                match (SYSTEMS.contains(&system.os.as_str()), &architecture.architecture) {
                    (true, _) => Ok(system),
                    (false, known) if ARCHITECTURES.contains(&known.as_str()) && !system_has_options => {
                        Ok(architecture)
                    }
                    (false, _) => Err(wrong()),
                }
            }
            [os, architecture] => Ok(Platform::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Platform::new(os, architecture, variant)),
            _ => Err(wrong()),
        }
    }

    /// Of images that this machine can run: containers are Linux's wherever the program itself runs.
    pub fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            other => other,
        };
        Platform::new("linux", architecture, "")
    }

    /// How well an image for `self` serves someone who wants `wanted`, 0 being exact; `None` if it cannot run
    /// there. A lower variant of the same architecture runs on a higher one.
    pub fn distance(&self, wanted: &Platform) -> Option<u32> {
        if self.os != wanted.os || self.architecture != wanted.architecture {
            return None;
        }
        if self.variant == wanted.variant {
            return Some(0);
        }
        let level = |platform: &Platform| -> Option<u32> {
            match (platform.architecture.as_str(), platform.variant.as_str()) {
                ("amd64", "") => Some(1),
                ("arm64", "") => Some(8),
                (_, variant) => variant.strip_prefix('v')?.split('.').next()?.parse().ok(),
            }
        };
        level(wanted)?.checked_sub(level(self)?).filter(|steps| *steps > 0)
    }
}

/// The name before `(VERSION+FEATURE…)`.
fn without_options(system: &str) -> Option<&str> {
    let Some((name, options)) = system.split_once('(') else { return Some(system) };
    let (version, features) = match options.strip_suffix(')')?.split_once('+') {
        Some((version, features)) => (version, features.split('+').collect()),
        None => (options.strip_suffix(')')?, Vec::new()),
    };
    let well_formed = |text: &str| text.bytes().all(|b| is_plain(b) || matches!(b, b'.' | b'%'));
    let right = well_formed(version) && features.iter().all(|it| !it.is_empty() && well_formed(it));
    right.then_some(name)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("{0:?} is not a platform: expected os/architecture[/variant], as in linux/amd64")]
pub struct ParsePlatformError(String);

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Platform, ParsePlatformError> {
        Platform::parse_on(text, &Platform::host())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &str) {
        let answer = match input.parse::<Platform>() {
            Ok(platform) => platform.to_string(),
            Err(error) => error.to_string().split(':').next().unwrap().to_owned(),
        };
        assert_eq!(answer, expected, "{input}");
    }

    #[test]
    fn spellings() {
        check("linux/amd64", "linux/amd64");
        check("linux/x86_64", "linux/amd64");
        check("Linux/AMD64/v1", "linux/amd64");
        check("linux/amd64/v3", "linux/amd64/v3");
        check("linux/aarch64", "linux/arm64");
        check("linux/arm64/v8", "linux/arm64");
        check("linux/arm", "linux/arm/v7");
        check("linux/arm/v6", "linux/arm/v6");
        check("arm64", "linux/arm64");
        check("", "\"\" is not a platform");
        check("linux/", "\"linux/\" is not a platform");
        check("a/b/c/d", "\"a/b/c/d\" is not a platform");
        check("a/b", "a/b");
        check("wasi", "\"wasi\" is not a platform");
        check("lin.ux/amd64", "\"lin.ux/amd64\" is not a platform");
        check("linux/am.d64", "linux/am.d64");
        let on = |text: &str| Platform::parse_on(text, &Platform::new("linux", "riscv64", "")).unwrap().to_string();
        for (text, expected) in [
            ("windows", "windows/riscv64"),
            ("macOS", "darwin/riscv64"),
            ("armhf", "linux/arm/v7"),
            ("X86_64", "linux/amd64"),
        ] {
            assert_eq!(on(text), expected);
        }
        check("linux/am d64", "\"linux/am d64\" is not a platform");
    }

    #[test]
    fn versions_of_systems_are_dropped() {
        for version in ["(10.0.1)", "()", "(10.0.1+win32k)", "(+a+b%20c)"] {
            check(&format!("windows{version}/amd64"), "windows/amd64");
            check(&format!("linux{version}/arm/v6"), "linux/arm/v6");
            check(&format!("freebsd{version}"), &format!("freebsd/{}", Platform::host().architecture));
        }
        for wrong in [
            "windows(10/amd64",
            "windows(1)x/amd64",
            "(1)/amd64",
            "a(b c)/d",
            "a(+)/d",
            "a(1))/d",
            "a/d(1)",
            "amd64(1)",
        ] {
            check(wrong, &format!("{wrong:?} is not a platform"));
        }
    }

    #[test]
    fn what_runs_where() {
        let serves = |image: &str, wanted: &str| {
            image.parse::<Platform>().unwrap().distance(&wanted.parse::<Platform>().unwrap())
        };
        assert_eq!(serves("linux/arm/v7", "linux/arm/v7"), Some(0));
        assert_eq!(serves("linux/arm/v5", "linux/arm/v7"), Some(2));
        assert_eq!(serves("linux/arm/v7", "linux/arm/v5"), None);
        assert_eq!(serves("linux/amd64", "linux/amd64/v3"), Some(2));
        assert_eq!(serves("linux/amd64/v3", "linux/amd64"), None);
        assert_eq!(serves("linux/arm64", "linux/amd64"), None);
        assert_eq!(serves("windows/amd64", "linux/amd64"), None);
    }
}
