//! Plots as SVG: lines over time, that a browser shows in its own light or dark.

use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;

/// Values over time, one for each part of it; none where there is nothing to tell.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) values: Vec<Option<f64>>,
}

impl Line {
    pub(crate) fn new(name: &str, values: impl IntoIterator<Item = Option<f64>>) -> Self {
        Self {
            name: name.to_owned(),
            values: values.into_iter().collect(),
        }
    }
}

/// A plot of lines over the same time, of `seconds` in all.
pub(crate) fn plot(title: &str, unit: &str, seconds: f64, lines: &[Line]) -> String {
    let values = lines.iter().flat_map(|line| line.values.iter().flatten());
    let most = values.copied().fold(0.0, f64::max);
    let step = nice_step(most, 4.0);
    let top = (most / step).ceil().max(1.0) * step;
    let x = |part: f64| LEFT + (WIDTH - LEFT - RIGHT) * part;
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value / top);

    let mut svg = format!("<figure><figcaption>{title}<span class=\"legend\">");
    for (place, line) in lines.iter().enumerate() {
        let _ = write!(
            svg,
            "<span><i class=\"swatch c{place}\"></i>{}</span>",
            escaped(&line.name)
        );
    }
    let _ = write!(
        svg,
        "</span></figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
    );
    let mut tick = 0.0;
    while tick <= top * 1.001 {
        let at = y(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"tick end\" x=\"{}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            label(tick, unit)
        );
        tick += step;
    }
    let every = nice_seconds(seconds / 6.0);
    let mut second = 0.0;
    while second <= seconds * 1.001 {
        let _ = write!(
            svg,
            "<text class=\"tick middle\" x=\"{:.1}\" y=\"{}\">{}</text>",
            x(second / seconds),
            HEIGHT - 8.0,
            clock(second)
        );
        second += every;
    }
    for (place, line) in lines.iter().enumerate() {
        let _ = write!(
            svg,
            "<path class=\"line c{place}\" d=\"{}\"/>",
            path(&line.values, x, y)
        );
    }
    svg.push_str(&hints(unit, seconds, lines, x));
    svg.push_str("</svg></figure>");
    svg
}

/// A line through the values, in the middle of each part; broken where there is none, and a point where one stands alone.
fn path(values: &[Option<f64>], x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut is_open = false;
    for (place, value) in values.iter().enumerate() {
        let Some(value) = value else {
            is_open = false;
            continue;
        };
        let at = x((place as f64 + 0.5) / values.len() as f64);
        let command = if is_open { 'L' } else { 'M' };
        let _ = write!(path, "{command}{at:.1} {:.1}", y(*value));
        let is_alone = !is_open && !matches!(values.get(place + 1), Some(Some(_)));
        if is_alone {
            path.push_str("h0");
        }
        is_open = true;
    }
    path
}

/// What a pointer is told over each part of the time.
fn hints(unit: &str, seconds: f64, lines: &[Line], x: impl Fn(f64) -> f64) -> String {
    let parts = lines.iter().map(|line| line.values.len()).max();
    let parts = parts.unwrap_or_default();
    let mut svg = String::new();
    for place in 0..parts {
        let part = |place: usize| place as f64 / parts as f64;
        let told: Vec<String> = lines
            .iter()
            .filter_map(|line| {
                let value = line.values.get(place).copied().flatten()?;
                Some(format!("\n{}: {}", escaped(&line.name), label(value, unit)))
            })
            .collect();
        if !told.is_empty() {
            let _ = write!(
                svg,
                "<rect class=\"hint\" x=\"{:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\"><title>{} to {}{}</title></rect>",
                x(part(place)),
                x(part(place + 1)) - x(part(place)),
                HEIGHT - TOP - BOTTOM,
                clock(part(place) * seconds),
                clock(part(place + 1) * seconds),
                told.concat()
            );
        }
    }
    svg
}

/// One, two or five times a power of ten, so that about so many fit into `most`.
fn nice_step(most: f64, count: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let rough = most / count;
    let power = 10.0_f64.powf(rough.log10().floor());
    let times = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|times| times * power >= rough);
    times.unwrap_or(10.0) * power
}

/// A span that people count time in, at least so long.
fn nice_seconds(least: f64) -> f64 {
    let nice = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0,
        7_200.0, 10_800.0, 14_400.0, 21_600.0, 43_200.0,
    ];
    nice.into_iter()
        .find(|nice| *nice >= least)
        .unwrap_or(86_400.0)
}

/// Seconds as a clock shows them; fractions where they matter.
pub(crate) fn clock(seconds: f64) -> String {
    let whole = seconds.floor();
    let (hours, minutes) = ((whole / 3_600.0).floor(), (whole / 60.0).floor() % 60.0);
    if hours > 0.0 {
        format!("{hours}:{minutes:02}:{:02}", whole % 60.0)
    } else if minutes > 0.0 {
        format!("{minutes}:{:02}", whole % 60.0)
    } else {
        format!("{} s", (seconds * 100.0).round() / 100.0)
    }
}

/// A value with as many digits as say something; many milliseconds as seconds.
pub(crate) fn label(value: f64, unit: &str) -> String {
    if unit == "ms" && value >= 10_000.0 {
        return label(value / 1_000.0, "s");
    }
    let digits = match value.abs() {
        value if value >= 100.0 => 1.0,
        value if value >= 10.0 => 10.0,
        value if value >= 1.0 => 100.0,
        _ => 1_000.0,
    };
    let value = (value * digits).round() / digits;
    if unit.is_empty() {
        value.to_string()
    } else {
        format!("{value} {unit}")
    }
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_broken_where_there_is_nothing_and_a_lone_value_is_a_point() {
        let values = [Some(1.0), Some(2.0), None, Some(3.0)];
        let path = path(&values, |part| part * 80.0, |value| value);
        assert_eq!(path, "M10.0 1.0L30.0 2.0M70.0 3.0h0");
    }

    #[test]
    fn steps_are_numbers_that_people_count_in() {
        let steps = [0.0, 0.9, 7.0, 48.0, 1_000.0].map(|most| nice_step(most, 4.0));
        assert_eq!(steps, [1.0, 0.5, 2.0, 20.0, 500.0]);
        assert_eq!([0.4, 17.0, 4_000.0].map(nice_seconds), [1.0, 30.0, 7_200.0]);
    }

    #[test]
    fn numbers_have_three_digits_and_clocks_two() {
        assert_eq!(label(12.3456, "ms"), "12.3 ms");
        assert_eq!(label(1_234.5, ""), "1235");
        assert_eq!(label(18_055.0, "ms"), "18.1 s");
        assert_eq!(label(0.0, "%"), "0 %");
        assert_eq!(clock(0.25), "0.25 s");
        assert_eq!(clock(61.0), "1:01");
        assert_eq!(clock(86_399.0), "23:59:59");
    }

    #[test]
    fn a_plot_without_values_is_drawn_all_the_same() {
        let empty = plot("t", "ms", 10.0, &[Line::new("p50", [None, None])]);
        assert!(empty.contains("d=\"\""), "{empty}");
        assert!(!empty.contains("NaN"), "{empty}");
        let one = plot("t", "ms", 10.0, &[Line::new("a<b", [Some(5.0)])]);
        assert!(one.contains("a&lt;b: 5 ms"), "{one}");
    }
}
