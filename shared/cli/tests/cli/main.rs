//! The `skein` binary, driven as a person drives it: in a folder of its own, by what it prints and how it ends.

#![expect(clippy::unwrap_used, reason = "a test fails where its surroundings do")]

mod agents;
mod alone;
mod audit;
mod dev;
mod load;
mod neighbours;
mod operate;
mod place;
mod plan;
mod regions;
mod runs;
mod state;
