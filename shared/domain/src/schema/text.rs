//! How places and values are written in findings and errors.

use std::fmt::{self, Display, Write};

use serde_json::Value;

/// What is displayed, cut after so many characters.
pub(super) struct Short<'a>(pub(super) &'a dyn Display, pub(super) usize);

/// A value in a text about it.
pub(super) fn shown(value: &Value) -> Short<'_> {
    Short(value, 60)
}

impl Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut limited = Limited {
            out: f,
            left: self.1,
        };
        match write!(limited, "{}", self.0) {
            // The error is how the limit stops what would be written in vain.
            Err(_) if limited.left == 0 => f.write_char('…'),
            other => other,
        }
    }
}

struct Limited<'a, 'f> {
    out: &'a mut fmt::Formatter<'f>,
    left: usize,
}

impl Write for Limited<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match text.char_indices().nth(self.left) {
            Some((end, _)) => {
                self.left = 0;
                self.out.write_str(&text[..end])?;
                Err(fmt::Error)
            }
            None => {
                self.left -= text.chars().count();
                self.out.write_str(text)
            }
        }
    }
}

/// A place in a value, from the inside out.
pub(super) struct Place<'a> {
    pub(super) parent: Option<&'a Place<'a>>,
    pub(super) step: Step<'a>,
}

/// The last step to a [`Place`].
pub(super) enum Step<'a> {
    Root,
    Name(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    pub(super) fn name(&'a self, name: &'a str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Name(name),
        }
    }

    pub(super) fn index(&'a self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Index(index),
        }
    }

    /// The JSON Pointer, long names cut.
    pub(super) fn pointer(&self) -> String {
        let mut steps = Vec::new();
        let mut at = Some(self);
        while let Some(place) = at {
            steps.push(&place.step);
            at = place.parent;
        }
        let mut pointer = String::new();
        for step in steps.iter().rev() {
            let _ = match step {
                Step::Root => Ok(()),
                Step::Name(name) => write!(pointer, "/{}", escape(&Short(name, 100).to_string())),
                Step::Index(index) => write!(pointer, "/{index}"),
            };
        }
        Short(&pointer, 500).to_string()
    }
}

/// `name` as a step of a JSON Pointer.
pub(super) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A JSON Pointer out of a fragment, where `%25` stands for `%` and so on.
pub(super) fn decode(fragment: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = fragment.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let mut byte = *first;
        if byte == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            let high = char::from(digits[0]).to_digit(16)?;
            let low = char::from(digits[1]).to_digit(16)?;
            byte = u8::try_from(high * 16 + low).ok()?;
            rest = tail;
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}
