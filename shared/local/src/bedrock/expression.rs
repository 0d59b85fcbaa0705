//! Finds arithmetic in prose, written with symbols (`17 * 23 + 4`) or with words between digits
//! (`6 times 7`).

/// Operators as they stand in prose, lower case, and as a calculator takes them. Longer ones first.
const OPERATORS: [(&str, char); 13] = [
    ("multiplied by", '*'),
    ("divided by", '/'),
    ("times", '*'),
    ("minus", '-'),
    ("plus", '+'),
    ("×", '*'),
    ("÷", '/'),
    ("+", '+'),
    ("-", '-'),
    ("*", '*'),
    ("/", '/'),
    ("^", '^'),
    ("%", '%'),
];

/// An arithmetic expression at the beginning of some text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// In symbols, one space around each operator that was a word; otherwise as it was written.
    pub(super) text: String,
    /// Bytes of the text it stands in.
    pub(super) len: usize,
    pub(super) operators: usize,
    /// Whether any operator was a word.
    pub(super) words: bool,
}

/// Reads the longest expression at the start of `lower` (ASCII lower case); `None` when it does not
/// start with a number or a parenthesis. A lone number is an expression without operators.
pub(super) fn at_start(lower: &str) -> Option<Found> {
    let mut reader = Reader {
        lower,
        at: 0,
        out: String::new(),
        operators: 0,
        words: false,
    };
    reader.expression(0).then(|| Found {
        text: reader.out.trim().to_owned(),
        len: reader.at,
        operators: reader.operators,
        words: reader.words,
    })
}

/// The number at the start of `lower` and its length: digits, or a word up to ten.
pub(super) fn number(lower: &str) -> Option<(f64, usize)> {
    const WORDS: [&str; 10] = [
        "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    ];
    let end = digits(lower);
    if end > 0 {
        return Some((lower[..end].replace(',', "").parse().ok()?, end));
    }
    let word = &lower[..lower
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(lower.len())];
    let place = WORDS.iter().position(|w| *w == word)?;
    Some(((1..=10).nth(place).map(f64::from)?, word.len()))
}

/// Length of a decimal number with an optional fraction and thousands separators.
fn digits(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut at = 0;
    while digit(at) {
        at += 1;
        let thousands =
            bytes.get(at) == Some(&b',') && (1..=3).all(|n| digit(at + n)) && !digit(at + 4);
        at += usize::from(thousands);
    }
    if bytes.get(at) == Some(&b'.') && digit(at + 1) {
        at += 1;
        while digit(at) {
            at += 1;
        }
    }
    at
}

struct Reader<'a> {
    lower: &'a str,
    at: usize,
    out: String,
    operators: usize,
    words: bool,
}

const MAX_DEPTH: usize = 32;

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.lower[self.at..]
    }

    fn take(&mut self, len: usize) {
        let piece = &self.lower[self.at..self.at + len];
        self.out.push_str(piece);
        self.at += len;
    }

    fn spaces(&mut self) {
        let len = self.rest().len() - self.rest().trim_start_matches(' ').len();
        self.take(len);
    }

    fn expression(&mut self, depth: usize) -> bool {
        if !self.operand(depth) {
            return false;
        }
        loop {
            let before = (self.at, self.out.len(), self.operators, self.words);
            if self.operator() && self.operand(depth) {
                continue;
            }
            self.at = before.0;
            self.out.truncate(before.1);
            (self.operators, self.words) = (before.2, before.3);
            return true;
        }
    }

    fn operator(&mut self) -> bool {
        self.spaces();
        let Some((word, symbol)) = OPERATORS
            .iter()
            .find(|(word, _)| self.rest().starts_with(word))
        else {
            return false;
        };
        self.at += word.len();
        if word.len() == 1 {
            self.out.push(*symbol);
        } else {
            let trimmed = self.out.trim_end().len();
            self.out.truncate(trimmed);
            self.out.extend([' ', *symbol]);
            self.words |= word.is_ascii();
        }
        self.operators += 1;
        self.spaces();
        true
    }

    fn operand(&mut self, depth: usize) -> bool {
        if self.rest().starts_with('-') {
            self.take(1);
        }
        if self.rest().starts_with('(') && depth < MAX_DEPTH {
            self.take(1);
            self.spaces();
            if !self.expression(depth + 1) {
                return false;
            }
            self.spaces();
            let closed = self.rest().starts_with(')');
            self.take(usize::from(closed));
            return closed;
        }
        let len = digits(self.rest());
        let glued = self.rest()[len..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if len == 0 || glued {
            return false;
        }
        let plain = self.rest()[..len].replace(',', "");
        self.out.push_str(&plain);
        self.at += len;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prose: &str, text: &str, operators: usize) {
        let found = at_start(prose).expect("an expression");
        assert_eq!((&*found.text, found.operators), (text, operators));
    }

    #[test]
    fn arithmetic_is_found_in_prose() {
        check("17 * 23 + 4?", "17 * 23 + 4", 2);
        check("(2+3)*4 and more", "(2+3)*4", 2);
        check("6 times 7", "6 * 7", 1);
        check("10 divided by 4 please", "10 / 4", 1);
        check("1,000 + -2.5.", "1000 + -2.5", 1);
        check("3 × 4", "3 * 4", 1);
        check("5 apples", "5", 0);
        check("2 - then wait", "2", 0);
        assert_eq!(at_start("what"), None);
        assert_eq!(at_start("(see above)"), None);
        assert_eq!(at_start("4th of may"), None);
    }

    #[test]
    fn numbers_are_digits_or_small_words() {
        assert_eq!(number("5 seconds"), Some((5.0, 1)));
        assert_eq!(number("two minutes"), Some((2.0, 3)));
        assert_eq!(number("1,500ms"), Some((1500.0, 5)));
        assert_eq!(number("soon"), None);
    }
}
