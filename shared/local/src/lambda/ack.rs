//! Prompt acknowledgements.
//!
//! The Rust runtime leaves Nagle's algorithm on: after a small write it waits for the acknowledgement before it sends
//! the next one, and Linux delays acknowledgements by 40 ms on a connection that looks interactive. Without this, every
//! chunk of a streamed reply would be 40 ms late.

use std::os::fd::{AsFd as _, OwnedFd};

use tokio::net::TcpStream;

/// A handle on a connection's socket. It must not outlive the connection, which it would keep open.
#[derive(Debug)]
pub(super) struct Acknowledgement(Option<OwnedFd>);

impl Acknowledgement {
    /// Without a handle (no descriptor is left) replies are merely later.
    pub(super) fn of(stream: &TcpStream) -> Self {
        Self(stream.as_fd().try_clone_to_owned().ok())
    }

    /// Asks for what arrives next to be acknowledged at once. The kernel forgets after a while, so ask often.
    pub(super) fn promptly(&self) {
        #[cfg(target_os = "linux")]
        if let Some(socket) = &self.0 {
            // Fails only when the connection is gone.
            let _ = rustix::net::sockopt::set_tcp_quickack(socket, true);
        }
    }
}
