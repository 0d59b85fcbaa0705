//! What stands in the address of a request: ids in the path, parameters in the query.

use std::ops::RangeInclusive;
use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use domain::time::At;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::{Api, Problem};

/// Ids of the path. What cannot be an id names nothing: the answer is that of a missing resource.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        axum::extract::Path::from_request_parts(parts, api)
            .await
            .map(|axum::extract::Path(ids)| Self(ids))
            .map_err(|_| Problem::NotFound)
    }
}

/// The parameters of the query, each at most once.
pub(crate) struct Params(Vec<(String, String)>);

impl FromRequestParts<Api> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        query
            .map(|Query(pairs)| Self(pairs))
            .map_err(|_| Problem::parameter("", "the query cannot be read"))
    }
}

impl Params {
    /// Refuses parameters that are not among `known` or that stand twice.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Problem> {
        for (index, (name, _)) in self.0.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let detail = format!(
                    "there is no such parameter; there are: {}",
                    known.join(", ")
                );
                return Err(Problem::parameter(name, detail));
            }
            if self.0[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::parameter(name, "stands twice"));
            }
        }
        Ok(())
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(known, _)| known == name)?;
        Some(&pair.1)
    }

    /// The parameter, read by `read`; `rule` tells what it must be.
    pub(crate) fn read<T>(
        &self,
        name: &str,
        rule: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        match self.text(name) {
            None => Ok(None),
            Some(text) => match read(text) {
                Some(value) => Ok(Some(value)),
                None => Err(Problem::parameter(name, rule)),
            },
        }
    }

    pub(crate) fn number<T>(
        &self,
        name: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, Problem>
    where
        T: std::str::FromStr + PartialOrd + std::fmt::Display,
    {
        let rule = format!("must be {} to {}", range.start(), range.end());
        self.read(name, &rule, |text| {
            text.parse().ok().filter(|number| range.contains(number))
        })
    }

    pub(crate) fn at(&self, name: &str) -> Result<Option<At>, Problem> {
        self.read(name, "must be an instant as of RFC 3339", At::parse)
    }

    pub(crate) fn seconds(&self, name: &str, most: u64) -> Result<Option<Duration>, Problem> {
        Ok(self.number(name, 0..=most)?.map(Duration::from_secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        let uri = format!("/?{query}").parse().unwrap();
        Params(Query::try_from_uri(&uri).unwrap().0)
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let refused = |result: Result<(), Problem>| match result {
            Err(Problem::InvalidParameter(findings)) => findings[0].clone(),
            other => panic!("{other:?}"),
        };
        let of = |query: &str| params(query).number::<u32>("limit", 1..=100).map(drop);
        assert_eq!(refused(of("limit=0")).detail, "must be 1 to 100");
        assert_eq!(refused(of("limit=ten")).detail, "must be 1 to 100");
        assert!(of("limit=100").is_ok());
        let unknown = refused(params("limit=1&limt=2").only(&["limit"]));
        assert_eq!(
            unknown.place,
            crate::problem::Place::Parameter("limt".to_owned())
        );
        assert_eq!(
            refused(params("limit=1&limit=2").only(&["limit"])).detail,
            "stands twice"
        );
        assert!(params("at=yesterday").at("at").is_err());
    }
}
