//! Reads from a text which tool calls it asks for, in the order of the text.

use serde_json::{Map, Value, json};

use super::{
    expression::{self, Found},
    extract,
    request::{Request, ToolSpec},
};

/// The most calls one text may ask for; what is over is not asked for.
const MAX_CALLS: usize = 1_000;

/// What to call, how often, and whether in one step.
#[derive(Debug, Default)]
pub(super) struct Plan {
    asks: Vec<Call>,
    repeat: usize,
    pub(super) parallel: bool,
}

/// One tool call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) tool: String,
    pub(super) input: Value,
}

impl Call {
    fn new(tool: &str, input: Value) -> Self {
        Self {
            tool: tool.to_owned(),
            input,
        }
    }
}

impl Plan {
    /// The plan for `text` with the tools that `request` offers.
    pub(super) fn read(text: &str, request: &Request<'_>) -> Self {
        if request.tool_config.is_none() {
            return Self::default();
        }
        let lower = text.to_ascii_lowercase();
        let offers = |name: &str| request.tools().any(|tool| tool.name == name);
        let mut reader = Reader {
            text,
            lower: &lower,
            plan: Self {
                repeat: 1,
                ..Self::default()
            },
            calculator: offers("calculator"),
            clock: offers("clock"),
            zones: request.tools().any(takes_zone),
            http_get: offers("http_get"),
            wait: offers("wait"),
            slow_research: offers("slow_research"),
            others: request
                .tools()
                .filter(|tool| !KNOWN.contains(&&*tool.name))
                .collect(),
        };
        reader.read();
        let mut plan = reader.plan;
        plan.parallel = PARALLEL.iter().any(|word| lower.contains(word));
        plan
    }

    /// How many calls the text asks for.
    pub(super) fn len(&self) -> usize {
        self.asks.len().saturating_mul(self.repeat).min(MAX_CALLS)
    }

    /// The call at `place`, counted from zero.
    pub(super) fn call(&self, place: usize) -> &Call {
        &self.asks[place % self.asks.len()]
    }
}

const KNOWN: [&str; 5] = ["calculator", "clock", "http_get", "wait", "slow_research"];
const PARALLEL: [&str; 4] = ["together", "parallel", "at once", "at the same time"];
const WAIT: [&str; 3] = ["wait", "sleep", "pause"];
const CLOCK: [&str; 10] = [
    "what time",
    "what's the time",
    "current time",
    "the time",
    "time is it",
    "what date",
    "what day",
    "current date",
    "today's date",
    "the clock",
];
const RESEARCH: [&str; 4] = ["research", "look into", "investigate", "find out about"];
const ENDS: [&str; 12] = [
    ",",
    ";",
    "?",
    "!",
    "\n",
    ". ",
    " then ",
    " and then ",
    " together",
    " in parallel",
    " at once",
    " at the same time",
];

struct Reader<'a> {
    text: &'a str,
    lower: &'a str,
    plan: Plan,
    calculator: bool,
    clock: bool,
    /// Whether the clock on offer takes a time zone.
    zones: bool,
    http_get: bool,
    wait: bool,
    slow_research: bool,
    others: Vec<&'a ToolSpec<'a>>,
}

impl Reader<'_> {
    fn read(&mut self) {
        let bytes = self.lower.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let inside = at > 0
                && (bytes[at - 1].is_ascii_alphanumeric()
                    || matches!(bytes[at - 1], b'_' | b'.' | b'-'));
            let taken = if inside || !self.lower.is_char_boundary(at) {
                0
            } else {
                self.ask_at(at)
            };
            at += taken.max(1);
        }
    }

    /// Takes what is asked for at `at`; returns the bytes it stands in, zero when there is nothing.
    fn ask_at(&mut self, at: usize) -> usize {
        let rest = &self.lower[at..];
        match rest.as_bytes()[0] {
            b'0'..=b'9' | b'(' | b'-' => self.number(at),
            b'h' if rest.starts_with("http://") || rest.starts_with("https://") => self.url(at),
            b'c' if rest.starts_with("count to ") => self.count(rest),
            b'r' if rest.starts_with("repeat ") => self.repeat(rest, "repeat ".len()),
            b't' if word(rest, "twice") => {
                self.plan.repeat = 2;
                "twice".len()
            }
            b'a'..=b'z' => {
                let taken = self.keyword(at, rest);
                if taken > 0 { taken } else { self.other(rest) }
            }
            _ => 0,
        }
    }

    fn keyword(&mut self, at: usize, rest: &str) -> usize {
        if self.wait
            && let Some(verb) = WAIT.iter().find(|v| word(rest, v))
        {
            return self.wait(rest, verb.len());
        }
        if self.clock
            && let Some(phrase) = CLOCK.iter().find(|p| word(rest, p))
        {
            let end = clause(rest, phrase.len(), true);
            let zone = if self.zones {
                timezone(&self.text[at..at + end])
            } else {
                json!({})
            };
            self.plan.asks.push(Call::new("clock", zone));
            return end;
        }
        if self.slow_research
            && let Some(verb) = RESEARCH.iter().find(|v| word(rest, v))
        {
            let end = clause(rest, verb.len(), false);
            let topic = self.text[at + verb.len()..at + end]
                .trim()
                .trim_end_matches('.');
            if !topic.is_empty() {
                self.plan
                    .asks
                    .push(Call::new("slow_research", json!({ "topic": topic })));
            }
            return end;
        }
        0
    }

    fn number(&mut self, at: usize) -> usize {
        let rest = &self.lower[at..];
        let token = rest.split(char::is_whitespace).next().unwrap_or(rest);
        if extract::date(token).is_some() {
            return token.len();
        }
        let repeated = self.repeated(rest);
        if repeated > 0 {
            return repeated;
        }
        let Some(found) = expression::at_start(rest) else {
            return 0;
        };
        if found.operators > 0 && self.calculator {
            self.plan
                .asks
                .push(Call::new("calculator", json!({ "expression": found.text })));
        }
        found.len
    }

    /// `5 times 1+1` and `… 3 times` repeat; `5 times 3` is arithmetic.
    fn repeated(&mut self, rest: &str) -> usize {
        let Some((_, len)) = expression::number(rest) else {
            return 0;
        };
        let Some(after) = rest[len..].trim_start().strip_prefix("times") else {
            return 0;
        };
        let following = after.trim_start_matches([' ', ':']);
        match expression::at_start(following) {
            Some(Found { operators: 0, .. } | Found { words: true, .. }) => 0,
            Some(_) | None => self.repeat(rest, 0),
        }
    }

    fn repeat(&mut self, rest: &str, skip: usize) -> usize {
        let Some((times, len)) = expression::number(&rest[skip..]) else {
            return skip;
        };
        self.plan.repeat = whole(times);
        let end = skip + len;
        let times = rest[end..].trim_start();
        let times = times.strip_prefix("times").unwrap_or(times);
        rest.len() - times.len()
    }

    fn count(&mut self, rest: &str) -> usize {
        let skip = "count to ".len();
        let Some((to, len)) = expression::number(&rest[skip..]) else {
            return skip;
        };
        if self.calculator {
            let steps = (0..whole(to))
                .map(|n| Call::new("calculator", json!({ "expression": format!("{n} + 1") })));
            self.plan.asks.extend(steps);
        }
        skip + len
    }

    fn url(&mut self, at: usize) -> usize {
        let url = extract::url_at(&self.text[at..]);
        if self.http_get {
            self.plan
                .asks
                .push(Call::new("http_get", json!({ "url": url })));
        }
        url.len()
    }

    fn wait(&mut self, rest: &str, skip: usize) -> usize {
        let mut span = rest[skip..].trim_start();
        span = span.strip_prefix("for ").unwrap_or(span).trim_start();
        let Some((amount, len)) = expression::number(span) else {
            return skip;
        };
        let unit = span[len..].trim_start();
        let name = &unit[..unit
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(unit.len())];
        let (seconds, unit_len) = match name {
            "ms" | "millisecond" | "milliseconds" => (amount / 1_000.0, name.len()),
            "s" | "sec" | "second" | "seconds" => (amount, name.len()),
            "m" | "min" | "minute" | "minutes" => (amount * 60.0, name.len()),
            "h" | "hour" | "hours" => (amount * 3_600.0, name.len()),
            _ => (amount, 0),
        };
        self.plan.asks.push(Call::new(
            "wait",
            json!({ "seconds": extract::number(seconds) }),
        ));
        rest.len() - unit.len() + unit_len
    }

    /// A tool that the text calls by its name, with underscores or with spaces.
    fn other(&mut self, rest: &str) -> usize {
        let named = |tool: &ToolSpec<'_>| {
            let name = tool.name.to_ascii_lowercase();
            word(rest, &name) || word(rest, &name.replace(['_', '-'], " "))
        };
        let Some(place) = self.others.iter().position(|tool| named(tool)) else {
            return 0;
        };
        let tool = self.others.remove(place);
        self.plan.asks.push(call_of(tool, self.text));
        tool.name.len()
    }
}

/// A call of any tool, its input taken from `text` by the tool's schema.
pub(super) fn call_of(tool: &ToolSpec<'_>, text: &str) -> Call {
    let schema: Value = serde_json::from_str(tool.input_schema.json.get()).unwrap_or_default();
    let input = match extract::value(&schema, text) {
        Value::Object(input) => input,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    };
    Call::new(&tool.name, Value::Object(input))
}

/// Whether `rest` starts with `word` as a whole word.
fn word(rest: &str, word: &str) -> bool {
    rest.strip_prefix(word)
        .is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Where the clause that starts `rest` ends. With `at_and`, any "and" ends it; otherwise only one
/// that goes on with something to do.
fn clause(rest: &str, skip: usize, at_and: bool) -> usize {
    let body = &rest[skip..];
    let mut end = ENDS
        .iter()
        .filter_map(|mark| body.find(mark))
        .min()
        .unwrap_or(body.len());
    for (place, _) in body[..end].match_indices(" and ") {
        if at_and || starts_ask(&body[place + " and ".len()..]) {
            end = place;
            break;
        }
    }
    skip + end
}

fn starts_ask(rest: &str) -> bool {
    let verbs = [
        "what",
        "fetch",
        "get ",
        "http",
        "calculate",
        "compute",
        "count to",
        "tell me",
        "repeat",
    ];
    rest.starts_with(|c: char| c.is_ascii_digit())
        || verbs
            .iter()
            .chain(&WAIT)
            .chain(&RESEARCH)
            .chain(&CLOCK)
            .any(|verb| rest.starts_with(verb))
}

/// An IANA zone such as `Europe/Berlin`, or UTC, named in the clause.
fn timezone(clause: &str) -> Value {
    let zone = clause
        .split(|c: char| c.is_whitespace() || c == '(' || c == ')')
        .map(|token| token.trim_end_matches('.'))
        .find(|token| {
            *token == "UTC"
                || token
                    .split_once('/')
                    .is_some_and(|(area, city)| capital(area) && capital(city))
        });
    zone.map_or_else(|| json!({}), |zone| json!({ "timezone": zone }))
}

fn takes_zone(tool: &ToolSpec<'_>) -> bool {
    tool.name == "clock" && tool.input_schema.json.get().contains("\"timezone\"")
}

fn capital(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
}

/// A count from prose: whole, not negative, at most the most calls.
fn whole(number: f64) -> usize {
    (0..=MAX_CALLS)
        .take_while(|n| u32::try_from(*n).is_ok_and(|n| f64::from(n) <= number))
        .last()
        .unwrap_or(0)
}
