//! The content encoding `aws-chunked`: chunks with their length in hexadecimal and an optional
//! signature, then trailing headers.

use axum::body::Bytes;
use http::{HeaderName, HeaderValue};

/// A decoded body and the headers that followed it.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) body: Bytes,
    pub(super) trailers: Vec<(HeaderName, HeaderValue)>,
}

/// Decodes a whole body; the error says what is wrong with it.
pub(super) fn decode(encoded: &[u8]) -> Result<Decoded, String> {
    let mut body = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    loop {
        let head = line(&mut rest).ok_or("a chunk has no head")?;
        let size = head.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size.trim(), 16)
            .map_err(|error| format!("a chunk's size {size:?} is not hexadecimal: {error}"))?;
        if size == 0 {
            break;
        }
        let (chunk, after) = rest
            .split_at_checked(size)
            .ok_or("a chunk is shorter than its head says")?;
        body.extend_from_slice(chunk);
        rest = after
            .strip_prefix(b"\r\n")
            .ok_or("a chunk is longer than its head says")?;
    }
    let mut trailers = Vec::new();
    while let Some(header) = line(&mut rest).filter(|header| !header.is_empty()) {
        let (name, value) = header.split_once(':').ok_or("a trailer has no colon")?;
        let name = HeaderName::try_from(name.trim()).map_err(|error| error.to_string())?;
        let value = HeaderValue::try_from(value.trim()).map_err(|error| error.to_string())?;
        trailers.push((name, value));
    }
    Ok(Decoded {
        body: body.into(),
        trailers,
    })
}

/// Takes one line off, or what is left when no line end follows.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    if rest.is_empty() {
        return None;
    }
    let end = rest.windows(2).position(|window| window == b"\r\n");
    let (line, after) = match end {
        Some(end) => (&rest[..end], &rest[end + 2..]),
        None => (*rest, &rest[rest.len()..]),
    };
    *rest = after;
    std::str::from_utf8(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_and_trailers_kept() {
        let encoded =
            b"5\r\nhello\r\n1;chunk-signature=ab\r\n!\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n";
        let decoded = decode(encoded).unwrap();
        assert_eq!(decoded.body, "hello!");
        assert_eq!(decoded.trailers[0].0, "x-amz-checksum-crc32");
        assert_eq!(decoded.trailers[0].1, "AAAA");
    }

    #[test]
    fn a_cut_body_is_refused() {
        assert!(decode(b"5\r\nhel").is_err());
        assert!(decode(b"zz\r\nhello\r\n").is_err());
        assert!(decode(b"5\r\nhello!").is_err());
        assert!(decode(b"").is_err());
    }
}
