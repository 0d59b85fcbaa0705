//! An error with everything that led to it.

use std::error::Error;
use std::fmt;

/// Shows an error and all its sources, joined by `: `. A source that its parent repeats at its end is shown once.
///
/// ```
/// let error = std::io::Error::other("the disk is full");
/// assert_eq!(telemetry::chain(&error).to_string(), "the disk is full");
/// ```
pub fn chain(error: &dyn Error) -> impl fmt::Display {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layer(text: &'static str, source: Option<Layer>) -> Layer {
        let source = source.map(Box::new);
        Layer { text, source }
    }

    #[test]
    fn every_source_is_shown_once() {
        let disk = layer("the disk is full", None);
        let write = layer("cannot write: the disk is full", Some(disk));
        let save = layer("cannot save", Some(write));
        assert_eq!(
            chain(&save).to_string(),
            "cannot save: cannot write: the disk is full"
        );
    }
}
