//! `strftime_now`: the caller's clock in the format directives of C and Python.

use std::fmt::{self, Write};

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A moment in UTC, by the Gregorian calendar.
struct Moment {
    year: i64,
    /// 1 to 12.
    month: usize,
    /// 1 to 31.
    day: i64,
    /// 0 to 365.
    day_of_year: i64,
    /// 0 is Sunday.
    weekday: usize,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Moment {
    /// The moment `seconds` after the start of 1970; the calendar by Howard Hinnant's days-to-civil method: years start
    /// in March, so that the leap day is their last, and repeat every 400 years.
    fn new(seconds: i64) -> Self {
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let from_march = days + 719_468;
        let (era, of_era) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let january_on = shifted_month >= 10;
        let month = if january_on { shifted_month - 9 } else { shifted_month + 3 };
        let year = era * 400 + year_of_era + i64::from(january_on);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        Self {
            year,
            month: month as usize,
            day: of_year - (153 * shifted_month + 2) / 5 + 1,
            day_of_year: if january_on { of_year - 306 } else { of_year + 59 + i64::from(leap) },
            weekday: (days + 4).rem_euclid(7) as usize,
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }
}

/// `seconds` since the start of 1970, UTC, by a `strftime` format in the C locale. Unknown directives stay as they are.
pub(super) fn format(seconds: i64, format: &str) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&Moment::new(seconds), format, &mut out);
    out
}

fn write(at: &Moment, format: &str, out: &mut String) -> fmt::Result {
    let mut chars = format.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            out.push(char);
            continue;
        }
        let rest = chars.as_str();
        // `%-d` and its like: without padding.
        let bare = rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(|next: char| "dmHIMSjy".contains(next)));
        if bare {
            chars.next();
        }
        let mut number = |value: i64, width: usize| write!(out, "{value:0width$}", width = if bare { 0 } else { width });
        let hour12 = (at.hour + 11) % 12 + 1;
        let (month, weekday) = (MONTHS[at.month - 1], DAYS[at.weekday]);
        match chars.next() {
            Some('Y') => number(at.year, 4)?,
            Some('y') => number(at.year.rem_euclid(100), 2)?,
            Some('m') => number(at.month as i64, 2)?,
            Some('d') => number(at.day, 2)?,
            Some('e') => write!(out, "{:2}", at.day)?,
            Some('j') => number(at.day_of_year + 1, 3)?,
            Some('H') => number(at.hour, 2)?,
            Some('I') => number(hour12, 2)?,
            Some('M') => number(at.minute, 2)?,
            Some('S') => number(at.second, 2)?,
            Some('f') => out.push_str("000000"),
            Some('p') => out.push_str(if at.hour < 12 { "AM" } else { "PM" }),
            Some('B') => out.push_str(month),
            Some('b' | 'h') => out.push_str(&month[..3]),
            Some('A') => out.push_str(weekday),
            Some('a') => out.push_str(&weekday[..3]),
            Some('w') => write!(out, "{}", at.weekday)?,
            Some('u') => write!(out, "{}", (at.weekday + 6) % 7 + 1)?,
            Some('F') => write(at, "%Y-%m-%d", out)?,
            Some('T' | 'X') => write(at, "%H:%M:%S", out)?,
            Some('R') => write(at, "%H:%M", out)?,
            Some('D' | 'x') => write(at, "%m/%d/%y", out)?,
            Some('c') => write(at, "%a %b %e %H:%M:%S %Y", out)?,
            // A moment without a zone has no name or offset to show.
            Some('Z' | 'z') => {}
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('%') => out.push('%'),
            Some(other) => write!(out, "%{other}")?,
            None => out.push('%'),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::format;

    /// Reference: Python's `datetime.strftime` in the C locale.
    #[test]
    fn equals_python() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 Thursday Thu January Jan 001 12 AM 4 70"),
            (951_782_399, "2000-02-28 23:59:59 Monday Mon February Feb 059 11 PM 1 00"),
            (951_868_799, "2000-02-29 23:59:59 Tuesday Tue February Feb 060 11 PM 2 00"),
            (978_263_999, "2000-12-31 11:59:59 Sunday Sun December Dec 366 11 AM 0 00"),
            (4_107_542_400, "2100-03-01 00:00:00 Monday Mon March Mar 060 12 AM 1 00"),
            (-2_208_988_801, "1899-12-31 23:59:59 Sunday Sun December Dec 365 11 PM 0 99"),
            (1_785_067_200, "2026-07-26 12:00:00 Sunday Sun July Jul 207 12 PM 0 26"),
        ] {
            assert_eq!(format(seconds, "%Y-%m-%d %H:%M:%S %A %a %B %b %j %I %p %w %y"), expected);
        }
        assert_eq!(
            format(951_782_399, "%-d|%-m|%e|%%|%c|%x %X|%Q|%"),
            "28|2|28|%|Mon Feb 28 23:59:59 2000|02/28/00 23:59:59|%Q|%"
        );
    }
}
