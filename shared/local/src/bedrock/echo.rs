//! `local.echo` and `local.slow`: the last user text again.

use super::{reply::Reply, request::Request};

pub(super) fn answer(request: &Request<'_>) -> Reply {
    let text = request.asked_at().map(|place| request.text_at(place));
    Reply::text(text.as_deref().unwrap_or("(nothing to echo)"))
}
