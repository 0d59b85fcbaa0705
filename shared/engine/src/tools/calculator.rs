//! Arithmetic: `+ - * / % ^`, parentheses, unary minus, decimal numbers.

/// Deepest nesting of parentheses and signs.
const MAX_DEPTH: u32 = 64;

/// The value of an expression.
pub(super) fn evaluate(expression: &str) -> Result<f64, String> {
    let mut parser = Parser {
        rest: expression.as_bytes(),
        at: 0,
        depth: 0,
    };
    let value = parser.sum()?;
    match parser.peek() {
        None if value.is_finite() => Ok(value),
        None => Err("the result is not a finite number".to_owned()),
        Some(_) => Err(parser.unexpected()),
    }
}

/// A number without a needless fraction.
pub(super) fn show(value: f64) -> String {
    // Ten digits after the point hide binary noise such as 0.1 + 0.2 and keep what people compute with.
    let rounded = (value * 1e10).round() / 1e10;
    let shown = if rounded.is_finite() { rounded } else { value };
    format!("{shown}")
}

struct Parser<'a> {
    rest: &'a [u8],
    at: usize,
    depth: u32,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.rest.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.rest.get(self.at).copied()
    }

    fn unexpected(&mut self) -> String {
        match self.peek() {
            Some(byte) => format!(
                "unexpected `{}` at position {}",
                char::from(byte),
                self.at + 1
            ),
            None => "the expression ends too early".to_owned(),
        }
    }

    fn sum(&mut self) -> Result<f64, String> {
        let mut value = self.product()?;
        while let Some(sign @ (b'+' | b'-')) = self.peek() {
            self.at += 1;
            let right = self.product()?;
            value = if sign == b'+' {
                value + right
            } else {
                value - right
            };
        }
        Ok(value)
    }

    fn product(&mut self) -> Result<f64, String> {
        let mut value = self.signed()?;
        while let Some(sign @ (b'*' | b'/' | b'%')) = self.peek() {
            self.at += 1;
            let right = self.signed()?;
            value = match sign {
                b'*' => value * right,
                _ if right == 0.0 => return Err("division by zero".to_owned()),
                b'/' => value / right,
                _ => value % right,
            };
        }
        Ok(value)
    }

    fn signed(&mut self) -> Result<f64, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("the expression is nested too deeply".to_owned());
        }
        let value = if self.peek() == Some(b'-') {
            self.at += 1;
            -self.signed()?
        } else {
            self.power()?
        };
        self.depth -= 1;
        Ok(value)
    }

    /// Binds tighter than a sign on its left, and to the right: `-2^2` is -4, `2^3^2` is 512.
    fn power(&mut self) -> Result<f64, String> {
        let base = self.atom()?;
        if self.peek() != Some(b'^') {
            return Ok(base);
        }
        self.at += 1;
        Ok(base.powf(self.signed()?))
    }

    fn atom(&mut self) -> Result<f64, String> {
        if self.peek() == Some(b'(') {
            self.at += 1;
            self.depth += 1;
            let value = self.sum()?;
            self.depth -= 1;
            if self.peek() != Some(b')') {
                return Err(self.unexpected());
            }
            self.at += 1;
            return Ok(value);
        }
        let start = self.at;
        while self
            .rest
            .get(self.at)
            .is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.')
        {
            self.at += 1;
        }
        let digits = std::str::from_utf8(&self.rest[start..self.at]).unwrap_or_default();
        digits.parse().map_err(|_| self.unexpected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_have_the_usual_precedence() {
        for (expression, value) in [
            ("1+2*3", "7"),
            ("(1+2)*3", "9"),
            ("-2^2", "-4"),
            ("2^3^2", "512"),
            ("10 % 4 - 1", "1"),
            ("0.1 + 0.2", "0.3"),
            ("--4", "4"),
            ("1.5*2", "3"),
        ] {
            assert_eq!(
                evaluate(expression).map(show),
                Ok(value.to_owned()),
                "{expression}"
            );
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        for expression in [
            "",
            "1+",
            "(1",
            "1 2",
            "one",
            "1/0",
            "9^9999",
            "1..2",
            &"(".repeat(5_000),
            &"-".repeat(5_000),
        ] {
            assert!(evaluate(expression).is_err(), "{expression:.20}");
        }
        assert_eq!(
            evaluate("1 + x").unwrap_err(),
            "unexpected `x` at position 5"
        );
    }
}
