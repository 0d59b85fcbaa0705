//! Numbers by their value: `1` and `1.0` are the same, and nothing is rounded.

use std::cmp::Ordering;

use serde_json::Number;

/// The integer that `number` is, unless it has a fraction or more than 36 digits.
pub(super) fn integer(number: &Number) -> Option<i128> {
    if let Some(small) = number.as_i64() {
        return Some(small.into());
    }
    if let Some(large) = number.as_u64() {
        return Some(large.into());
    }
    let float = number.as_f64()?;
    if float.fract() != 0.0 || float.abs() >= 1e36 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^127")]
    let whole = float as i128;
    Some(whole)
}

/// Whether `number` has no fraction.
pub(super) fn is_integer(number: &Number) -> bool {
    number.as_f64().is_none_or(|float| float.fract() == 0.0) || integer(number).is_some()
}

/// Compares two numbers. Where one is no integer below 10^36, comparing as floats is exact enough: rounding an integer
/// never carries it past a float that has a fraction.
pub(super) fn compare(left: &Number, right: &Number) -> Ordering {
    match (integer(left), integer(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => left
            .as_f64()
            .partial_cmp(&right.as_f64())
            .unwrap_or(Ordering::Equal),
    }
}

/// Whether `value` divided by `divisor`, which is above zero, is an integer. Both are taken as the decimals that they
/// are written as, so that 0.3 is a multiple of 0.1.
pub(super) fn is_multiple(value: &Number, divisor: &Number) -> bool {
    if let (Some(value), Some(divisor)) = (integer(value), integer(divisor)) {
        return value % divisor == 0;
    }
    let (Some((digits, exponent)), Some((by, by_exponent))) = (decimal(value), decimal(divisor))
    else {
        return false;
    };
    let shift = exponent - by_exponent;
    if digits == 0 {
        true
    } else if shift < 0 {
        10_u128
            .checked_pow(shift.unsigned_abs())
            .and_then(|power| power.checked_mul(by))
            // A divisor of more than 2^128 units is larger than the value.
            .is_some_and(|by| digits % by == 0)
    } else {
        // At most 20 digits each, so ten times the rest fits.
        let rest = (0..shift).fold(digits % by, |rest, _| rest * 10 % by);
        rest == 0
    }
}

/// `number` without its sign, as digits and a power of ten.
fn decimal(number: &Number) -> Option<(u128, i32)> {
    let text = number.to_string();
    let text = text.trim_start_matches('-');
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let exponent: i32 = exponent.parse().ok()?;
    Some((
        format!("{whole}{fraction}").parse().ok()?,
        exponent - i32::try_from(fraction.len()).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_str};

    use super::*;

    fn number(text: &str) -> Number {
        match from_str(text).unwrap() {
            Value::Number(number) => number,
            other => panic!("{other} is no number"),
        }
    }

    #[test]
    fn numbers_compare_by_value() {
        let cases = [
            ("1", "1.0", Ordering::Equal),
            ("-0.0", "0", Ordering::Equal),
            ("1.5", "1", Ordering::Greater),
            ("9007199254740993", "9007199254740992.0", Ordering::Greater),
            (
                "18446744073709551615",
                "18446744073709551616.0",
                Ordering::Less,
            ),
            ("-9223372036854775808", "-1e300", Ordering::Greater),
            ("1e40", "18446744073709551615", Ordering::Greater),
        ];
        for (left, right, order) in cases {
            assert_eq!(
                compare(&number(left), &number(right)),
                order,
                "{left} {right}"
            );
        }
    }

    #[test]
    fn multiples_are_exact() {
        let cases = [
            ("10", "2", true),
            ("7", "2", false),
            ("-4", "2", true),
            ("0.3", "0.1", true),
            ("0.35", "0.1", false),
            ("0.0075", "0.0001", true),
            ("0.00751", "0.0001", false),
            ("19.99", "0.01", true),
            ("4.5", "1.5", true),
            ("1e308", "0.123456789", false),
            ("1e308", "0.5", true),
            ("12391239123", "1e-8", true),
            ("1e-320", "1e300", false),
            ("0.0", "0.7", true),
            ("18446744073709551615", "5", true),
        ];
        for (value, divisor, expected) in cases {
            assert_eq!(
                is_multiple(&number(value), &number(divisor)),
                expected,
                "{value} {divisor}"
            );
        }
    }

    #[test]
    fn integers_may_be_written_as_floats() {
        for (text, expected) in [
            ("1", true),
            ("1.0", true),
            ("1e300", true),
            ("18446744073709551615", true),
            ("1.5", false),
            ("1e-9", false),
        ] {
            assert_eq!(is_integer(&number(text)), expected, "{text}");
        }
    }
}
