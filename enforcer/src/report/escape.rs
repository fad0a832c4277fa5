//! Text from strangers.

use std::borrow::Cow;

/// Whether a character does nothing but stand there. Letters and digits of any script do; controls, marks that turn the
/// direction of writing, and invisible characters do not.
pub(super) fn is_harmless(character: char) -> bool {
    character.is_ascii_graphic() || character == ' ' || (!character.is_ascii() && character.is_alphanumeric())
}

/// One word: a blank is escaped too, so that nobody can write further columns.
pub(super) fn word(text: &str) -> Cow<'_, str> {
    escape(text, |character| is_harmless(character) && !matches!(character, ' ' | '\\'))
}

/// Several words on one line.
pub(super) fn line(text: &str) -> Cow<'_, str> {
    escape(text, is_harmless)
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&keep) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            character if keep(character) => escaped.push(character),
            '\\' => escaped.push_str("\\\\"),
            character if character.is_ascii() => {
                escaped.push_str(&format!("\\x{:02x}", u32::from(character)));
            }
            character => escaped.extend(character.escape_unicode()),
        }
    }
    escaped.into()
}
