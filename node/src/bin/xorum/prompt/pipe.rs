//! Lines from a pipe or a file.

use std::{
    io::{self, BufRead, BufReader, Read},
    thread,
};

use tokio::sync::{mpsc, oneshot};

use super::{Lines, Typed};

/// The longest line: a key and a value of their largest sizes, every byte of them written as `\xNN`, fit well.
const MAX_LINE_BYTES: u64 = 8 * 1024 * 1024;

/// A line is longer than a line may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line is larger than the limit of {MAX_LINE_BYTES} bytes")]
pub(crate) struct TooLong;

/// Reads lines on a thread of its own (it may wait for ever, and ends with the process).
pub(crate) fn read_lines(input: impl Read + Send + 'static) -> io::Result<Lines> {
    let (sender, lines) = mpsc::channel(1);
    thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut input = BufReader::new(input);
        // An input that cannot be read is at its end.
        while let Ok(Some(text)) = next_line(&mut input) {
            let (answered, wait) = oneshot::channel();
            if sender.blocking_send(Typed { text, answered }).is_err() || wait.blocking_recv().is_err() {
                return;
            }
        }
    })?;
    Ok(lines)
}

/// The next line without its end; none at the end of the input.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Result<Vec<u8>, TooLong>>> {
    let mut line = Vec::new();
    if input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() as u64 == MAX_LINE_BYTES && skip_line(input)? {
        return Ok(Some(Err(TooLong)));
    }
    Ok(Some(Ok(line)))
}

/// Skips the rest of a line; was there anything but its end?
fn skip_line(input: &mut impl BufRead) -> io::Result<bool> {
    let mut skipped = false;
    loop {
        let bytes = input.fill_buf()?;
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let rest = end.unwrap_or(bytes.len());
        skipped |= rest > 0;
        let at_end = bytes.is_empty() || end.is_some();
        input.consume(end.map_or(rest, |end| end + 1));
        if at_end {
            return Ok(skipped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Result<Vec<u8>, TooLong>> {
        let mut input = BufReader::new(input);
        std::iter::from_fn(|| next_line(&mut input).expect("memory")).collect()
    }

    #[test]
    fn lines_end_with_a_line_feed_or_the_input() {
        assert_eq!(lines(b"a\n\nb\xff"), [Ok(b"a".to_vec()), Ok(vec![]), Ok(b"b\xff".to_vec())]);
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_whole() {
        let longest = vec![b'x'; usize::try_from(MAX_LINE_BYTES).expect("a size")];
        let input = [&longest[..], b"\n", &longest, b"y\nb\n"].concat();
        assert_eq!(lines(&input), [Ok(longest), Err(TooLong), Ok(b"b".to_vec())]);
    }
}
