//! What the tests' stand-ins for channels and buckets have in common: reading one HTTP request.

use super::Headers;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;

/// A request as it came.
pub(crate) struct Heard {
    /// Method and target.
    pub(crate) line: String,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn hear(stream: &TcpStream) -> Heard {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let headers = Headers::new(headers);
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Heard {
        line: line.trim_end().trim_end_matches(" HTTP/1.1").to_owned(),
        headers,
        body,
    }
}
