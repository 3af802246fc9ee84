//! EXPOSE: ports, ranges and protocols.

/// The most ports of one EXPOSE: all of them, once.
const MAX_PORTS: usize = 65_536;

/// What one word of EXPOSE exposes, as `port/protocol`. The error says what is wrong with it.
///
/// A word is `[ip:][host:]port[-port][/protocol]`; address and host port are checked and have no effect.
pub(super) fn parse(word: &str) -> Result<Vec<String>, String> {
    let (front, container) = word.rsplit_once(':').map_or(("", word), |(front, port)| (front, port));
    let (ip, host) = front.rsplit_once(':').unwrap_or(("", front));
    let (ports, protocol) = container.split_once('/').unwrap_or((container, ""));
    if ports.is_empty() {
        return Err("it has no port".to_owned());
    }
    let protocol = match protocol.to_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        _ => return Err(format!("{protocol:?} is not tcp, udp or sctp")),
    };
    let address = ip.strip_prefix('[').map_or(ip, |it| it.strip_suffix(']').unwrap_or(it));
    if !ip.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("{ip:?} is not an address"));
    }
    let (first, last) = range(ports)?;
    if !host.is_empty() {
        let (host_first, host_last) = range(host)?;
        if last - first != host_last - host_first && first != last {
            return Err(format!("{ports} and {host} are ranges of different length"));
        }
    }
    let all = (first..=last).take(MAX_PORTS);
    Ok(all.map(|port| format!("{port}/{protocol}")).collect())
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    match first <= last {
        true => Ok((first, last)),
        false => Err(format!("{text} ends before it begins")),
    }
}

fn number(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text:?} is not a port: a number from 0 to 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, expected: Result<&[&str], &str>) {
        let ports = parse(word);
        let shown = ports.as_ref().map(|list| list.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(shown.as_deref().map_err(|error| error.as_str()), expected, "{word}");
    }

    #[test]
    fn words() {
        check("80", Ok(&["80/tcp"]));
        check("53/UDP", Ok(&["53/udp"]));
        check("80/", Ok(&["80/tcp"]));
        check("8000-8002/sctp", Ok(&["8000/sctp", "8001/sctp", "8002/sctp"]));
        check("8080:80", Ok(&["80/tcp"]));
        check("127.0.0.1:8080:80", Ok(&["80/tcp"]));
        check("[::1]:8080:80", Ok(&["80/tcp"]));
        check("8000-8001:80", Ok(&["80/tcp"]));
        check("", Err("it has no port"));
        check("x", Err("\"x\" is not a port: a number from 0 to 65535"));
        check("65536", Err("\"65536\" is not a port: a number from 0 to 65535"));
        check("2-1", Err("2-1 ends before it begins"));
        check("80/http", Err("\"http\" is not tcp, udp or sctp"));
        check("host:1:2", Err("\"host\" is not an address"));
        check("1-2:3-5", Err("3-5 and 1-2 are ranges of different length"));
    }

    proptest::proptest! {
        #[test]
        fn any_word_is_answered(word in "[0-9a-z:/\\[\\]-]{0,20}") {
            let _ = parse(&word);
        }
    }
}
