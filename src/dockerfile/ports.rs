//! EXPOSE: ports, ranges and protocols.

use std::net::IpAddr;
use std::ops::RangeInclusive;

/// What one word of EXPOSE says: `[ip:][host:]port[-port][/protocol]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports<'a> {
    ip: &'a str,
    host: &'a str,
    ports: &'a str,
    /// As it is written.
    pub protocol: &'a str,
}

impl<'a> Ports<'a> {
    /// Divides it; a part may still be wrong. The error says what cannot be divided.
    pub fn parse(word: &'a str) -> Result<Ports<'a>, String> {
        let (front, container) = word.rsplit_once(':').unwrap_or(("", word));
        let (ip, host) = front.rsplit_once(':').unwrap_or(("", front));
        let (ports, protocol) = container.split_once('/').unwrap_or((container, ""));
        if ports.is_empty() {
            return Err("it has no port".to_owned());
        }
        if !matches!(protocol.to_lowercase().as_str(), "" | "tcp" | "udp" | "sctp") {
            return Err(format!("{protocol:?} is not tcp, udp or sctp"));
        }
        Ok(Ports { ip, host, ports, protocol })
    }

    /// Whether it names more than ports of the container. It has no effect.
    pub fn has_host(&self) -> bool {
        !self.ip.is_empty() || !self.host.is_empty()
    }

    /// The container's ports. The error says what is wrong with any part.
    pub fn range(&self) -> Result<RangeInclusive<u16>, String> {
        let address = match self.ip.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']'),
            None => Some(self.ip),
        };
        if !self.ip.is_empty() && address.is_none_or(|it| it.parse::<IpAddr>().is_err()) {
            return Err(format!("{:?} is not an address", self.ip));
        }
        let (first, last) = range(self.ports)?;
        if !self.host.is_empty() {
            let (host_first, host_last) = range(self.host)?;
            if last - first != host_last - host_first && first != last {
                return Err(format!("{} and {} are ranges of different length", self.ports, self.host));
            }
        }
        Ok(first..=last)
    }

    /// Each port as `port/protocol`.
    pub fn list(&self) -> Result<impl ExactSizeIterator<Item = String>, String> {
        let protocol = match self.protocol {
            "" => "tcp".to_owned(),
            protocol => protocol.to_lowercase(),
        };
        Ok(self.range()?.map(move |port| format!("{port}/{protocol}")))
    }
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
        let ports = Ports::parse(word).and_then(|it| Ok(it.list()?.collect::<Vec<_>>()));
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
        check("[::1:8080:80", Err("\"[::1\" is not an address"));
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
            let _ = Ports::parse(&word).and_then(|it| it.range());
        }
    }
}
