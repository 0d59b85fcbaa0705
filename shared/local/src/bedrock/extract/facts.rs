//! What a text says: addresses, dates, numbers, names, and values behind a label.

use std::collections::VecDeque;

use super::spelling::{amount, currency, date, email, long_date, names, trim, url_at, words};

pub(super) struct Facts<'a> {
    text: &'a str,
    lower: String,
    emails: VecDeque<String>,
    urls: VecDeque<String>,
    dates: VecDeque<String>,
    phones: VecDeque<String>,
    names: VecDeque<String>,
    quoted: VecDeque<String>,
    /// Numbers with their places in the text.
    numbers: Vec<(usize, f64)>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let mut facts = Self {
            text,
            lower: text.to_ascii_lowercase(),
            emails: VecDeque::new(),
            urls: VecDeque::new(),
            dates: VecDeque::new(),
            phones: VecDeque::new(),
            names: names(text),
            quoted: text
                .split('"')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect(),
            numbers: Vec::new(),
        };
        let words: Vec<(usize, &str)> = words(text).collect();
        let mut at = 0;
        while at < words.len() {
            at += facts.word(&words[at..]);
        }
        facts
    }

    /// Sorts the first of `words`; returns how many belong together.
    fn word(&mut self, words: &[(usize, &str)]) -> usize {
        let (place, raw) = words[0];
        let word = trim(raw);
        if raw.starts_with("http://") || raw.starts_with("https://") {
            self.urls.push_back(url_at(raw).to_owned());
        } else if email(word) {
            self.emails.push_back(word.to_owned());
        } else if let Some(date) = date(word) {
            self.dates.push_back(date);
        } else if let Some(date) = long_date(words) {
            self.dates.push_back(date);
            return 3;
        } else if word.starts_with('+') && word.bytes().filter(u8::is_ascii_digit).count() >= 7 {
            self.phones.push_back(word.to_owned());
        } else if let Some(number) = amount(word) {
            self.numbers.push((place, number));
        }
        1
    }

    /// Whether the text holds `words`, whatever their case, as whole words.
    pub(super) fn says(&self, words: &str) -> bool {
        let words = words.to_ascii_lowercase();
        !words.is_empty() && self.after_word(&words).is_some()
    }

    /// A boolean by its name: true when the text says it without "not" or "no" before it.
    pub(super) fn truth(&self, name: &str) -> Option<bool> {
        let label = label(name);
        let label = label
            .strip_prefix("is ")
            .or_else(|| label.strip_prefix("has "))
            .unwrap_or(&label);
        let end = self.after_word(label)?;
        let before = self.lower[..end - label.len()].trim_end();
        let after = self.lower[end..].trim_start_matches([':', '=', ' ']);
        let after = after.strip_prefix("is ").unwrap_or(after);
        let denied = ["not", "no", "isn't", "never"]
            .iter()
            .any(|no| before.ends_with(no))
            || ["false", "no"].iter().any(|no| after.starts_with(no));
        Some(!denied)
    }

    /// A number: the one next to its name, or the next one not yet taken.
    pub(super) fn number(&mut self, name: &str, integer: bool) -> Option<f64> {
        let wanted = |n: f64| !integer || n.fract() == 0.0;
        let near = self.after_word(&label(name)).and_then(|end| {
            self.numbers
                .iter()
                .position(|(place, n)| (end..end + 16).contains(place) && wanted(*n))
        });
        let place = near.or_else(|| self.numbers.iter().position(|(_, n)| wanted(*n)))?;
        Some(self.numbers.remove(place).1)
    }

    /// A string by its name and format.
    pub(super) fn text(&mut self, name: &str, format: &str) -> Option<String> {
        match format {
            "email" => return self.emails.pop_front(),
            "uri" | "url" | "iri" => return self.urls.pop_front(),
            "date" => return self.dates.pop_front(),
            "date-time" => {
                return self
                    .dates
                    .pop_front()
                    .map(|date| format!("{date}T00:00:00Z"));
            }
            "time" | "uuid" | "ipv4" | "ipv6" | "hostname" => return None,
            _ => {}
        }
        let label = label(name);
        if let Some(value) = self.labelled(&label) {
            return Some(value);
        }
        let is = |words: &[&str]| label.split(' ').any(|part| words.contains(&part));
        if is(&["email", "mail", "emails"]) {
            self.emails.pop_front()
        } else if is(&["url", "link", "website", "uri", "urls", "links"]) {
            self.urls.pop_front()
        } else if is(&["date", "day", "when", "deadline", "due", "dates"]) {
            self.dates.pop_front()
        } else if is(&["phone", "telephone", "mobile"]) {
            self.phones.pop_front()
        } else if is(&["first", "given"]) && is(&["name"]) {
            self.names
                .front()
                .and_then(|n| n.split(' ').next())
                .map(str::to_owned)
        } else if is(&["last", "family"]) && is(&["name"]) {
            self.names
                .front()
                .and_then(|n| n.split(' ').next_back())
                .map(str::to_owned)
        } else if is(&[
            "name",
            "person",
            "contact",
            "author",
            "who",
            "names",
            "people",
            "attendees",
        ]) {
            self.names.pop_front()
        } else if is(&["currency"]) {
            currency(self.text).map(str::to_owned)
        } else if is(&["title", "subject", "headline"]) {
            let first = self.text.trim().split(['.', '\n', '!', '?']).next()?;
            (!first.is_empty()).then(|| first.to_owned())
        } else if is(&[
            "summary",
            "text",
            "description",
            "content",
            "message",
            "body",
            "input",
            "query",
            "topic",
            "answer",
        ]) {
            let whole = self.text.trim();
            (!whole.is_empty()).then(|| whole.to_owned())
        } else {
            self.quoted.pop_front()
        }
    }

    /// A list behind its label: `tags: red, green and blue`.
    pub(super) fn list(&self, name: &str) -> Option<Vec<String>> {
        let end = self.after_word(&label(name))?;
        let rest = self.text[end..].strip_prefix(':')?;
        let line = rest.split(['\n', '.', ';']).next()?;
        let parts = line.split(',').flat_map(|part| part.split(" and "));
        let list: Vec<String> = parts
            .map(str::trim)
            .filter(|p| !p.is_empty())
            .map(str::to_owned)
            .collect();
        (!list.is_empty()).then_some(list)
    }

    /// The value behind `label:`, `label =` or `label is`.
    fn labelled(&self, label: &str) -> Option<String> {
        let end = self.after_word(label)?;
        let rest = &self.text[end..];
        let value = [":", " =", "=", " is ", " was "]
            .iter()
            .find_map(|mark| rest.strip_prefix(mark))?;
        let mut end = value.find(['\n', ',', ';']).unwrap_or(value.len());
        end = [". ", " and "]
            .iter()
            .filter_map(|mark| value[..end].find(mark))
            .min()
            .unwrap_or(end);
        let value = value[..end]
            .trim()
            .trim_end_matches('.')
            .trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// Where `words` end in the text, as whole words.
    fn after_word(&self, words: &str) -> Option<usize> {
        if words.is_empty() {
            return None;
        }
        let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        self.lower.match_indices(words).find_map(|(place, _)| {
            let end = place + words.len();
            let whole = edge(self.lower[..place].chars().next_back())
                && edge(self.lower[end..].chars().next());
            whole.then_some(end)
        })
    }
}

/// `dueDate` and `due_date` as they stand in prose: `due date`.
fn label(name: &str) -> String {
    let mut label = String::with_capacity(name.len() + 2);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !label.is_empty() && !label.ends_with(' ') {
            label.push(' ');
        }
        label.push(if matches!(c, '_' | '-') {
            ' '
        } else {
            c.to_ascii_lowercase()
        });
    }
    label
}
