//! Values as they are printed: bare where that is plain, else in double quotes.

use std::fmt::Write as _;

/// What a bare value must not begin with, so that no answer can be taken for another.
const TAKEN: [&str; 4] = ["(", "ERR", "OK", "END"];

/// `value` as it is printed, and can be typed back.
pub(crate) fn quote(value: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(value)
        && is_bare(text)
    {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for chunk in value.utf8_chunks() {
        chunk.valid().chars().for_each(|character| push(&mut quoted, character));
        chunk.invalid().iter().for_each(|byte| push_byte(&mut quoted, *byte));
    }
    quoted.push('"');
    quoted
}

fn is_bare(text: &str) -> bool {
    !text.is_empty()
        && !TAKEN.iter().any(|taken| text.starts_with(taken))
        && text.chars().all(|c| c != '"' && c != '\\' && c != ' ' && is_visible(c))
}

fn push(quoted: &mut String, character: char) {
    match character {
        '"' => quoted.push_str("\\\""),
        '\\' => quoted.push_str("\\\\"),
        '\n' => quoted.push_str("\\n"),
        '\r' => quoted.push_str("\\r"),
        '\t' => quoted.push_str("\\t"),
        '\0' => quoted.push_str("\\0"),
        ' ' => quoted.push(' '),
        c if is_visible(c) => quoted.push(c),
        c if c.is_ascii() => push_byte(quoted, c as u8),
        c => {
            // Writing to a string cannot fail.
            let _ = write!(quoted, "\\u{{{:x}}}", u32::from(c));
        }
    }
}

fn push_byte(quoted: &mut String, byte: u8) {
    let _ = write!(quoted, "\\x{byte:02x}");
}

/// Does it show, and take room? White space, control characters, what Unicode ignores by default (zero-width and
/// direction marks, fillers, variation selectors), what it has not assigned, and the blank Braille pattern do not.
fn is_visible(character: char) -> bool {
    let ignorable = matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}');
    !ignorable && !character.is_whitespace() && !character.is_control() && is_printable(character)
}

/// Does the standard library print it as it is, when another character stands before it? (Alone or first, it escapes
/// accents too, which are visible.)
fn is_printable(character: char) -> bool {
    let mut pair = String::from("a");
    pair.push(character);
    matches!(character, '\'' | '"' | '\\') || pair.escape_debug().eq(pair.chars())
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn a_plain_value_is_bare() {
        for value in ["v", "#", "it's", "a=b", "é", "e\u{301}", "日本", "🙂", "-", "--stale", "ok", "err", "a(", "EN"]
        {
            assert_eq!(quote(value.as_bytes()), value);
        }
    }

    #[test]
    fn a_value_that_could_be_taken_for_another_answer_is_quoted() {
        for value in ["(not found)", "(", "ERR", "ERRATUM", "OK", "OKAY", "END", "ENDING"] {
            assert_eq!(quote(value.as_bytes()), format!("\"{value}\""));
        }
    }

    #[test]
    fn what_is_empty_or_not_plain_is_quoted_and_escaped() {
        let cases: [(&[u8], &str); 14] = [
            (b"", r#""""#),
            (b"a b", r#""a b""#),
            (b"\"", r#""\"""#),
            (b"\\", r#""\\""#),
            (b"a\nb\r\t\0", r#""a\nb\r\t\0""#),
            (b"\x01\x7f", r#""\x01\x7f""#),
            (b"\xff", r#""\xff""#),
            (b"a\xc3", r#""a\xc3""#),
            ("\u{85}".as_bytes(), r#""\u{85}""#),
            ("\u{a0}".as_bytes(), r#""\u{a0}""#),
            ("é\u{200b}".as_bytes(), r#""é\u{200b}""#),
            ("\u{feff}".as_bytes(), r#""\u{feff}""#),
            ("\u{3164}".as_bytes(), r#""\u{3164}""#),
            ("\u{e0100}".as_bytes(), r#""\u{e0100}""#),
        ];
        for (value, printed) in cases {
            assert_eq!(quote(value), printed);
        }
    }
}
