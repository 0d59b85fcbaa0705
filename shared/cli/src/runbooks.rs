//! The commands that runbooks tell people to type are commands that there are.

use std::fs;
use std::path::Path;

use clap::Parser as _;

use crate::args::Cli;

/// The words of a command as a shell splits them; single quotes are all that runbooks use.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn every_command_in_a_runbook_parses() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runbooks");
    let mut seen = 0;
    for page in fs::read_dir(folder).unwrap() {
        let page = page.unwrap().path();
        let text = fs::read_to_string(&page).unwrap();
        for line in text
            .lines()
            .filter_map(|line| line.strip_prefix("$ skein "))
        {
            seen += 1;
            // An event's number stands for itself; any other stand-in is a text.
            let line = format!("skein {}", line.replace("<event>", "1"));
            if let Err(error) = Cli::try_parse_from(words(&line)) {
                panic!("{}: {line}: {error}", page.display());
            }
        }
    }
    assert!(seen > 20, "the search finds {seen} commands");
}

#[test]
fn a_command_that_is_none_does_not_parse() {
    for line in [
        "skein breakers",
        "skein dlq redrive tasks",
        "skein runs show",
    ] {
        assert!(Cli::try_parse_from(words(line)).is_err(), "{line}");
    }
}
