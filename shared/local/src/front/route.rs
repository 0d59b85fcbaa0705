//! Which function answers a method and path.

use http::Method;

/// A method and path that a function answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method; `None` means any.
    pub method: Option<Method>,
    /// The path, such as `/v1/runs/{run}/events`. A last segment `{name+}` matches all that remains.
    pub pattern: String,
    /// The name of the function.
    pub function: String,
    /// Whether the function streams its answer (`ResponseTransferMode: STREAM`).
    pub streaming: bool,
}

/// The routes, most specific first.
#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<Entry>,
    fallback: String,
}

#[derive(Debug)]
struct Entry {
    route: Route,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    Parameter(String),
    Rest(String),
}

/// The route of one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) function: &'a str,
    pub(super) resource: &'a str,
    pub(super) streaming: bool,
    pub(super) parameters: Vec<(&'a str, &'a str)>,
}

impl Table {
    pub(super) fn new(routes: &[Route], fallback: &str) -> Self {
        let mut entries: Vec<Entry> = routes
            .iter()
            .map(|route| Entry {
                segments: split(&route.pattern).map(Segment::parse).collect(),
                route: route.clone(),
            })
            .collect();
        // Literals sort before parameters, parameters before the rest, a named method before any method.
        entries.sort_by_key(|entry| {
            let kinds: Vec<u8> = entry.segments.iter().map(Segment::rank).collect();
            (kinds, entry.route.method.is_none())
        });
        Self {
            entries,
            fallback: fallback.to_owned(),
        }
    }

    pub(super) fn find<'a>(&'a self, method: &Method, path: &'a str) -> Found<'a> {
        for entry in &self.entries {
            let route = &entry.route;
            if route.method.as_ref().is_some_and(|own| own != method) {
                continue;
            }
            if let Some(parameters) = matching(&entry.segments, path) {
                return Found {
                    function: &route.function,
                    resource: &route.pattern,
                    streaming: route.streaming,
                    parameters,
                };
            }
        }
        Found {
            function: &self.fallback,
            resource: "/{proxy+}",
            streaming: false,
            parameters: vec![("proxy", path.trim_start_matches('/'))],
        }
    }
}

impl Segment {
    fn parse(segment: &str) -> Self {
        let Some(name) = segment
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
        else {
            return Self::Literal(segment.to_owned());
        };
        match name.strip_suffix('+') {
            Some(name) => Self::Rest(name.to_owned()),
            None => Self::Parameter(name.to_owned()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Literal(_) => 0,
            Self::Parameter(_) => 1,
            Self::Rest(_) => 2,
        }
    }
}

fn split(path: &str) -> impl Iterator<Item = &str> {
    path.trim_matches('/').split('/')
}

fn matching<'a>(segments: &'a [Segment], path: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
    let mut parameters = Vec::new();
    let mut rest = path.trim_matches('/');
    let mut is_over = false;
    for segment in segments {
        if is_over {
            return None;
        }
        let (head, tail) = match rest.split_once('/') {
            Some((head, tail)) => (head, Some(tail)),
            None => (rest, None),
        };
        match segment {
            Segment::Literal(literal) if literal == head => {}
            Segment::Parameter(name) if !head.is_empty() => parameters.push((name.as_str(), head)),
            Segment::Rest(name) if !rest.is_empty() => {
                parameters.push((name.as_str(), rest));
                return Some(parameters);
            }
            Segment::Literal(_) | Segment::Parameter(_) | Segment::Rest(_) => return None,
        }
        rest = tail.unwrap_or_default();
        is_over = tail.is_none();
    }
    is_over.then_some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: Option<Method>, pattern: &str, function: &str) -> Route {
        Route {
            method,
            pattern: pattern.to_owned(),
            function: function.to_owned(),
            streaming: false,
        }
    }

    fn table() -> Table {
        let routes = [
            route(None, "/v1/{rest+}", "rest"),
            route(Some(Method::GET), "/v1/runs/{run}/events", "stream"),
            route(Some(Method::GET), "/v1/runs/{run}", "api"),
            route(Some(Method::GET), "/v1/runs/latest", "latest"),
            route(None, "/", "root"),
        ];
        Table::new(&routes, "fallback")
    }

    #[track_caller]
    fn check(method: &Method, path: &str, function: &str, parameters: &[(&str, &str)]) {
        let table = table();
        let found = table.find(method, path);
        assert_eq!(
            (found.function, found.parameters.as_slice()),
            (function, parameters)
        );
    }

    #[test]
    fn most_specific_route_wins() {
        let get = &Method::GET;
        check(get, "/v1/runs/r1/events", "stream", &[("run", "r1")]);
        check(get, "/v1/runs/r1/", "api", &[("run", "r1")]);
        check(get, "/v1/runs/latest", "latest", &[]);
        check(
            get,
            "/v1/runs/r1/steps",
            "rest",
            &[("rest", "runs/r1/steps")],
        );
        check(&Method::POST, "/v1/runs/r1", "rest", &[("rest", "runs/r1")]);
        check(get, "/", "root", &[]);
        check(get, "/v1", "fallback", &[("proxy", "v1")]);
        check(get, "/other", "fallback", &[("proxy", "other")]);
    }
}
