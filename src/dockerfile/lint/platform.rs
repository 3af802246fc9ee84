//! Platforms as far as the checks of `FROM --platform` need them: operating system and architecture.

/// The system and the architecture of `os`, `arch`, `os/arch` or `os/arch/variant`, under their usual names; `None`
/// if it is no platform. What is not given is the machine's.
pub(super) fn parse(text: &str, machine: &str) -> Option<(String, String)> {
    let good = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    // A version in parentheses may follow the system.
    let (head, rest) = match text.split_once('(') {
        Some((head, rest)) => (head, rest.split_once(')')?.1),
        None => (text.split('/').next().unwrap_or_default(), text.get(text.find('/').unwrap_or(text.len())..)?),
    };
    let mut parts = vec![head];
    parts.extend(rest.split('/').skip(1));
    if parts.len() > 3 || !parts.iter().all(|it| good(it)) {
        return None;
    }
    let mut machine = machine.split('/').map(str::to_owned);
    let (system, arch) = (machine.next().unwrap_or_default(), machine.next().unwrap_or_default());
    match parts.as_slice() {
        [one] if is_system(&one.to_lowercase()) => Some((system_name(one), arch)),
        [one] => Some((system, known_arch(one)?)),
        [os, arch, ..] => Some((system_name(os), arch_name(arch))),
        [] => None,
    }
}

fn is_system(name: &str) -> bool {
    const SYSTEMS: [&str; 18] = [
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
        "macos",
        "nacl",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "windows",
        "zos",
    ];
    SYSTEMS.contains(&name)
}

fn system_name(name: &str) -> String {
    match name.to_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        name => name.to_owned(),
    }
}

fn known_arch(name: &str) -> Option<String> {
    const KNOWN: [&str; 21] = [
        "386",
        "amd64",
        "amd64p32",
        "arm",
        "armbe",
        "arm64",
        "arm64be",
        "loong64",
        "mips",
        "mipsle",
        "mips64",
        "mips64le",
        "mips64p32",
        "mips64p32le",
        "ppc",
        "ppc64",
        "ppc64le",
        "riscv64",
        "s390x",
        "sparc64",
        "wasm",
    ];
    let name = arch_name(name);
    KNOWN.contains(&name.as_str()).then_some(name)
}

fn arch_name(name: &str) -> String {
    match name.to_lowercase().as_str() {
        "i386" => "386",
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "armhf" | "armel" => "arm",
        name => return name.to_owned(),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms() {
        fn check(text: &str, expected: Option<(&str, &str)>) {
            let found = parse(text, "linux/riscv64");
            assert_eq!(found.as_ref().map(|(os, arch)| (os.as_str(), arch.as_str())), expected, "{text}");
        }
        check("linux/amd64", Some(("linux", "amd64")));
        check("Linux/x86_64", Some(("linux", "amd64")));
        check("linux/arm/v7", Some(("linux", "arm")));
        check("windows(10.0.1)/amd64", Some(("windows", "amd64")));
        check("windows", Some(("windows", "riscv64")));
        check("arm64", Some(("linux", "arm64")));
        check("armhf", Some(("linux", "arm")));
        check("something", None);
        check("", None);
        check("linux/", None);
        check("linux/a b", None);
        check("a/b/c/d", None);
    }
}
