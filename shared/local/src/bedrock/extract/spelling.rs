//! How addresses, dates, numbers and names are spelled in prose.

use std::collections::VecDeque;

use crate::bedrock::expression;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

const LONG_MONTHS: [&str; 11] = [
    "january",
    "february",
    "march",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Capitalised words that are no part of a name.
const NOT_NAMES: [&str; 30] = [
    "a", "an", "and", "call", "contact", "dear", "email", "extract", "for", "from", "hello", "hi",
    "i", "in", "invoice", "is", "it", "mail", "meet", "my", "order", "our", "please", "the",
    "this", "to", "we", "what", "write", "you",
];

/// The words of a text with their places in bytes.
pub(super) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace()
        .map(|word| (word.as_ptr().addr() - text.as_ptr().addr(), word))
}

pub(super) fn trim(word: &str) -> &str {
    word.trim_matches(|c: char| {
        matches!(
            c,
            ',' | ';' | '.' | ':' | '!' | '?' | '"' | '\'' | '(' | ')' | '<' | '>' | '[' | ']'
        )
    })
}

pub(super) fn email(word: &str) -> bool {
    word.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && !host.starts_with('.') && host.contains('.') && !host.contains('@')
    })
}

/// The URL at the start of `text`, without the punctuation of the sentence around it.
pub(crate) fn url_at(text: &str) -> &str {
    let stop = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | ')' | ']' | '`');
    let end = text.find(stop).unwrap_or(text.len());
    text[..end].trim_end_matches(['.', ',', ';', ':', '!', '?'])
}

/// A date written in digits, `2026-11-21` (with or without a time) or `21.11.2026`, in ISO form.
pub(crate) fn date(word: &str) -> Option<String> {
    let word = trim(word);
    let day_only = word.split_once('T').map_or(word, |(day, _)| day);
    let (separator, year_first) = if day_only.contains('.') {
        ('.', false)
    } else {
        ('-', true)
    };
    let parts: Vec<&str> = day_only.split(separator).collect();
    let [a, b, c] = parts[..] else { return None };
    let (year, day) = if year_first { (a, c) } else { (c, a) };
    if year.len() != 4 || b.len() > 2 || day.len() > 2 {
        return None;
    }
    iso(year, b.parse().ok()?, day)
}

/// `21 November 2026` or `November 21, 2026`.
pub(super) fn long_date(words: &[(usize, &str)]) -> Option<String> {
    let [(_, a), (_, b), (_, c), ..] = words else {
        return None;
    };
    let (a, b, c) = (trim(a), trim(b), trim(c));
    let month = |word: &str| {
        let start = word.get(..3)?.to_ascii_lowercase();
        let place = MONTHS.iter().position(|m| *m == start)?;
        u32::try_from(place + 1).ok()
    };
    let (day, month) = match month(b) {
        Some(month) => (a, month),
        None => (b, month(a)?),
    };
    (c.len() == 4)
        .then(|| {
            iso(
                c,
                month,
                day.trim_end_matches(|c: char| c.is_ascii_alphabetic()),
            )
        })
        .flatten()
}

fn iso(year: &str, month: u32, day: &str) -> Option<String> {
    let (year, day): (u32, u32) = (year.parse().ok()?, day.parse().ok()?);
    let days = match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    (1..=days)
        .contains(&day)
        .then(|| format!("{year:04}-{month:02}-{day:02}"))
}

/// A number with or without a currency sign or a percent sign.
pub(super) fn amount(word: &str) -> Option<f64> {
    let bare = word.trim_matches(['$', '€', '£', '%', '#']);
    let (number, negative) = match bare.strip_prefix('-') {
        Some(number) => (number, true),
        None => (bare, false),
    };
    let (value, len) =
        expression::number(number).filter(|_| number.starts_with(|c: char| c.is_ascii_digit()))?;
    let unit = &number[len..];
    let whole = unit.is_empty() || unit.chars().all(char::is_alphabetic);
    whole.then_some(if negative { -value } else { value })
}

pub(super) fn currency(text: &str) -> Option<&'static str> {
    let known = [
        ("EUR", "EUR"),
        ("€", "EUR"),
        ("USD", "USD"),
        ("$", "USD"),
        ("GBP", "GBP"),
        ("£", "GBP"),
        ("CHF", "CHF"),
    ];
    known
        .iter()
        .find(|(sign, _)| text.contains(sign))
        .map(|(_, code)| *code)
}

/// Runs of capitalised words: first those of two words or more, then single ones.
pub(super) fn names(text: &str) -> VecDeque<String> {
    let mut long = VecDeque::new();
    let mut single = VecDeque::new();
    let mut run: Vec<&str> = Vec::new();
    for raw in text.split_whitespace().chain(std::iter::once("")) {
        let word = trim(raw);
        let lower = word.to_ascii_lowercase();
        let capital = word.starts_with(char::is_uppercase)
            && word
                .chars()
                .all(|c| c.is_alphabetic() || matches!(c, '-' | '\'' | '.'))
            && (word.len() == 1 || word.chars().any(char::is_lowercase))
            && !NOT_NAMES.contains(&&*lower)
            && !LONG_MONTHS.contains(&&*lower);
        if capital {
            run.push(word);
        }
        if !capital
            || raw.len()
                > raw
                    .trim_end_matches([',', ';', '.', ':', '!', '?', ')'])
                    .len()
        {
            match run.len() {
                0 => {}
                1 => single.push_back(run[0].to_owned()),
                _ => long.push_back(run.join(" ")),
            }
            run.clear();
        }
    }
    long.append(&mut single);
    long
}
