//! Times as images write them.

use std::time::{SystemTime, UNIX_EPOCH};

/// RFC 3339 in UTC: of `epoch`, seconds since 1970, or of now.
pub fn rfc3339(epoch: Option<i64>) -> String {
    match epoch {
        Some(seconds) => format(seconds, 0),
        None => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            format(i64::try_from(now.as_secs()).unwrap_or(0), now.subsec_nanos())
        }
    }
}

fn format(seconds: i64, nanoseconds: u32) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years are counted from March, so that a leap day is a year's last; 400 years have 146,097 days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let fraction = if nanoseconds == 0 { String::new() } else { format!(".{nanoseconds:09}") };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let check = |seconds, nanoseconds, expected| assert_eq!(format(seconds, nanoseconds), expected);
        check(0, 0, "1970-01-01T00:00:00Z");
        check(951_782_400, 5, "2000-02-29T00:00:00.000000005Z");
        check(1_709_251_199, 0, "2024-02-29T23:59:59Z");
        check(-1, 0, "1969-12-31T23:59:59Z");
        check(4_102_444_800, 0, "2100-01-01T00:00:00Z");
    }
}
