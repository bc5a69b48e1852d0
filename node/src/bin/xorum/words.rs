//! Splits a typed line into words of bytes.
//!
//! Words are separated by ASCII white space. Between double quotes the escapes `\" \\ \n \r \t \0 \xNN \u{N}` stand
//! for what they name; outside of quotes every byte but `"` and white space stands for itself, `\` and `#` too. So
//! any bytes can be typed, and what [`quote`](crate::output::quote) prints can be typed back.

/// Why a line cannot be split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WordsError {
    /// A quote was opened and not closed.
    #[error("the quote opened at column {0} is not closed")]
    Unclosed(usize),
    /// A backslash is followed by nothing that it could mean.
    #[error("unknown escape at column {0}: use \\\" \\\\ \\n \\r \\t \\0 \\xNN or \\u{{N}}")]
    UnknownEscape(usize),
    /// `\x` without two hexadecimal digits.
    #[error("\\x at column {0} needs two hexadecimal digits")]
    BadByte(usize),
    /// `\u` without the number of a character in braces.
    #[error("\\u at column {0} needs the number of a character in braces, such as \\u{{200b}}")]
    BadCharacter(usize),
}

/// Splits `line`; the words are none when it is blank. Columns in errors count bytes from 1.
pub(crate) fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, WordsError> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        if byte.is_ascii_whitespace() || byte == 0x0b {
            words.extend(word.take());
            at += 1;
        } else if byte == b'"' {
            at = quoted(line, at, word.get_or_insert_default())?;
        } else {
            word.get_or_insert_default().push(byte);
            at += 1;
        }
    }
    words.extend(word);
    Ok(words)
}

/// Reads the quoted part that begins at `open` into `word`; returns where the line goes on.
fn quoted(line: &[u8], open: usize, word: &mut Vec<u8>) -> Result<usize, WordsError> {
    let mut at = open + 1;
    loop {
        match line.get(at) {
            None => return Err(WordsError::Unclosed(open + 1)),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape(line, at, word)?,
            Some(&byte) => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

/// Reads the escape whose backslash is at `start` into `word`; returns where the line goes on.
fn escape(line: &[u8], start: usize, word: &mut Vec<u8>) -> Result<usize, WordsError> {
    let rest = line.get(start + 2..).unwrap_or_default();
    let byte = match line.get(start + 1) {
        Some(b'"') => b'"',
        Some(b'\\') => b'\\',
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'0') => 0,
        Some(b'x') => {
            let byte = rest.get(..2).and_then(hexadecimal).ok_or(WordsError::BadByte(start + 1))?;
            word.push(u8::try_from(byte).map_err(|_| WordsError::BadByte(start + 1))?);
            return Ok(start + 4);
        }
        Some(b'u') => {
            let (character, length) = braced(rest).ok_or(WordsError::BadCharacter(start + 1))?;
            word.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(start + 2 + length);
        }
        _ => return Err(WordsError::UnknownEscape(start + 1)),
    };
    word.push(byte);
    Ok(start + 2)
}

/// The character that `{N}` at the start of `rest` names, and how many bytes name it.
fn braced(rest: &[u8]) -> Option<(char, usize)> {
    let end = rest.iter().take(8).position(|&byte| byte == b'}')?;
    let digits = rest.get(..end)?.strip_prefix(b"{")?;
    Some((char::from_u32(hexadecimal(digits)?)?, end + 1))
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{WordsError, split};
    use crate::output::quote;

    fn words(line: &str) -> Vec<Vec<u8>> {
        split(line.as_bytes()).expect("a good line")
    }

    #[test]
    fn white_space_separates_and_quotes_hold_together() {
        assert_eq!(words("put  k\t\"a b\"\r"), [&b"put"[..], b"k", b"a b"]);
        assert_eq!(words(r#"put k """#), [&b"put"[..], b"k", b""]);
        assert_eq!(words(r#"a"b c"d"#), [b"ab cd"]);
        assert!(words(" \t ").is_empty());
    }

    #[test]
    fn outside_quotes_a_backslash_and_a_number_sign_are_literal() {
        assert_eq!(words(r"put #k \n"), [&b"put"[..], b"#k", br"\n"]);
        assert_eq!(words("it's"), [b"it's"]);
    }

    #[test]
    fn every_escape_stands_for_what_it_names() {
        assert_eq!(words(r#""\"\\\n\r\t\0\x41\xfF\u{e9}\u{10FFFF}""#), [b"\"\\\n\r\t\0A\xff\xc3\xa9\xf4\x8f\xbf\xbf"]);
    }

    #[test]
    fn a_bad_line_is_refused_with_the_column() {
        assert_eq!(split(br#"put "a"#), Err(WordsError::Unclosed(5)));
        assert_eq!(split(br#""a\"#), Err(WordsError::UnknownEscape(3)));
        assert_eq!(split(br#""\q""#), Err(WordsError::UnknownEscape(2)));
        assert_eq!(split(br#""\x4""#), Err(WordsError::BadByte(2)));
        assert_eq!(split(br#""\x+4""#), Err(WordsError::BadByte(2)));
        for bad in [r#""\u{}""#, r#""\u{d800}""#, r#""\u{110000}""#, r#""\u41""#, r#""\u{41""#, r#""\u{0000041}""#] {
            assert_eq!(split(bad.as_bytes()), Err(WordsError::BadCharacter(2)), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_can_be_typed_back(value: Vec<u8>, text: String) {
            for value in [value, text.into_bytes()] {
                let line = format!("put k {}", quote(&value));
                prop_assert_eq!(split(line.as_bytes()), Ok(vec![b"put".to_vec(), b"k".to_vec(), value]));
            }
        }

        #[test]
        fn any_line_is_split_or_refused(line: Vec<u8>) {
            let _ = split(&line);
        }

        #[test]
        fn a_line_of_quotes_and_escapes_is_split_or_refused(line in r#"["\\xu{}0-9a-f ]{0,40}"#) {
            let _ = split(line.as_bytes());
        }
    }
}
