//! How often and how long to wait for a server that is busy or gone.
//!
//! Waits double, so that a server in trouble is not kept in it; what it asks for itself counts
//! more, up to what a person would bear.

use std::time::{Duration, SystemTime};

use ureq::http::{HeaderMap, header};

/// When to try again, and when to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Before the second attempt. Each further wait is twice as long.
    pub first: Duration,
    /// The longest of these waits.
    pub longest: Duration,
    /// The longest wait that a server may ask for.
    pub asked_max: Duration,
    /// Attempts without a single byte before giving up.
    pub attempts: u32,
}

impl Default for Patience {
    /// Gives up after some four minutes in which nothing came.
    fn default() -> Patience {
        Patience {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            asked_max: Duration::from_secs(600),
            attempts: 9,
        }
    }
}

impl Patience {
    /// How long to wait after the `failed`th attempt that gave nothing, counted from 1; `None`:
    /// not any more.
    pub fn wait(&self, failed: u32, asked: Option<Duration>) -> Option<Duration> {
        if failed >= self.attempts {
            return None;
        }
        let doubled = 1_u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX);
        let own = self.first.saturating_mul(doubled).min(self.longest);
        Some(own.max(asked.unwrap_or_default()))
    }
}

/// The wait that a server asks for: seconds, or a date, which its own clock is compared with.
pub fn asked(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let after = text(header::RETRY_AFTER)?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| -> Option<SystemTime> { httpdate::parse_http_date(text).ok() };
    let (then, now) = (date(after)?, date(text(header::DATE)?)?);
    Some(then.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let patience = Patience::default();
        let waits: Vec<_> = (1..).map_while(|failed| patience.wait(failed, None)).collect();
        let seconds: Vec<_> = waits.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(patience.wait(1, Some(Duration::from_secs(30))), Some(Duration::from_secs(30)));
        assert_eq!(patience.wait(7, Some(Duration::from_secs(30))), Some(Duration::from_secs(60)));
        let stubborn = Patience { attempts: u32::MAX, ..patience };
        assert_eq!(stubborn.wait(1000, None), Some(Duration::from_secs(60)));
    }

    #[test]
    fn servers_ask_in_seconds_or_with_a_date() {
        let asked = |after: &'static str, date: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static(after));
            if let Some(date) = date {
                headers.insert(header::DATE, header::HeaderValue::from_static(date));
            }
            asked(&headers).map(|wait| wait.as_secs())
        };
        let (now, then) = ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:29:30 GMT");
        assert_eq!(asked("120", None), Some(120));
        assert_eq!(asked(then, Some(now)), Some(90));
        assert_eq!(asked(now, Some(then)), Some(0), "a date that has passed");
        for unclear in ["soon", "-1", "", then] {
            assert_eq!(asked(unclear, None), None, "{unclear}");
        }
    }
}
