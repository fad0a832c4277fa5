//! The YAML text as a tree that knows where each value stands. The only file that names `saphyr_parser`.
//!
//! serde_yaml stops at the first fault and knows no places of values, so the faults are looked for here.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use crate::diagnostic::lines;

/// How deep maps and lists may lie in each other; the language needs five levels.
const MAX_DEPTH: usize = 32;

/// Where a value stands: line and column from 1, and its length in characters within that line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Spot {
    pub line: usize,
    pub column: usize,
    pub length: usize,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub spot: Spot,
    /// Which entry of its list the value is, in the file; it stays when entries before it are cut out.
    pub index: usize,
    pub value: Value,
}

/// A value, its scalars read by YAML's core schema.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Boolean(bool),
    Float(f64),
    Integer(i128),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Null,
    Text(String),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// Why a text gave no tree.
#[derive(Debug)]
pub(crate) struct TreeError {
    pub code: &'static str,
    pub message: String,
    pub hint: &'static str,
    pub spot: Spot,
}

impl Node {
    /// Reads the one YAML document of a text; none if there is nothing but comments.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, TreeError> {
        if let Some(error) = unprintable(text) {
            return Err(error);
        }
        let mut builder = Builder::default();
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| syntax(&error, text))?;
            builder.take(event, span)?;
        }
        Ok(builder.root)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// The value of a key of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
    }

    /// An entry of a list.
    pub(crate) fn item(&self, index: usize) -> Option<&Self> {
        if let Value::List(items) = &self.value { items.get(index) } else { None }
    }

    /// The tree without its places.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Boolean(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Integer(value) => i64::try_from(*value).map_or(serde_json::Value::Null, Into::into),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                let pairs =
                    entries.iter().filter_map(|(key, value)| Some((key.text()?.to_owned(), value.to_json())));
                serde_json::Value::Object(pairs.collect())
            }
            Value::Null => serde_json::Value::Null,
            Value::Text(text) => text.as_str().into(),
        }
    }
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
}

/// A list or map whose end has not come yet; a map's keys and values lie alternating in `items`.
struct Open {
    map: bool,
    spot: Spot,
    items: Vec<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), TreeError> {
        let spot = spot(span);
        match event {
            Event::Alias(_) => return Err(no_alias(spot)),
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if anchor > 0 =>
            {
                return Err(no_alias(spot));
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return Err(TreeError {
                    code: "yaml-tag",
                    message: "YAML tags are not part of the policy language".to_owned(),
                    hint: "leave the `!` tag out; quote a text that starts with `!`",
                    spot,
                });
            }
            Event::Scalar(text, style, _, _) => self.push(spot, scalar(&text, style))?,
            Event::SequenceStart(..) => self.open(false, spot)?,
            Event::MappingStart(..) => self.open(true, spot)?,
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn open(&mut self, map: bool, spot: Spot) -> Result<(), TreeError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(TreeError {
                code: "too-deep",
                message: format!("lists and maps lie more than {MAX_DEPTH} levels deep"),
                hint: "no key of the language needs more than five levels",
                spot,
            });
        }
        self.open.push(Open { map, spot, items: Vec::new() });
        Ok(())
    }

    fn close(&mut self) -> Result<(), TreeError> {
        let Some(Open { map, spot, items }) = self.open.pop() else { return Ok(()) };
        let value = if map {
            let mut entries = Vec::new();
            let mut items = items.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                entries.push((key, value));
            }
            Value::Map(entries)
        } else {
            Value::List(items)
        };
        self.push(spot, value)
    }

    fn push(&mut self, spot: Spot, value: Value) -> Result<(), TreeError> {
        if let Some(open) = self.open.last_mut() {
            open.items.push(Node { spot, index: open.items.len(), value });
            return Ok(());
        }
        if self.root.is_some() {
            return Err(TreeError {
                code: "several-documents",
                message: "the file holds a second YAML document".to_owned(),
                hint: "write each policy to a file of its own",
                spot,
            });
        }
        self.root = Some(Node { spot, index: 0, value });
        Ok(())
    }
}

/// The first character that YAML keeps for escapes: saphyr takes it, serde_yaml refuses it without a place.
fn unprintable(text: &str) -> Option<TreeError> {
    let fits = |c| {
        matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
            && c != '\u{feff}'
    };
    if text.chars().all(fits) {
        return None;
    }
    let (line, (column, character)) = lines(text).enumerate().find_map(|(index, (_, line))| {
        Some((index + 1, line.chars().enumerate().find(|(_, c)| !fits(*c))?))
    })?;
    Some(TreeError {
        code: "syntax",
        message: format!("not valid YAML: `{}` cannot stand in a file", character.escape_unicode()),
        hint: "take the character out, or write it as an escape in double quotes, such as `\"\\u0007\"`",
        spot: Spot { line, column: column + 1, length: 1 },
    })
}

fn syntax(error: &ScanError, text: &str) -> TreeError {
    let spot = spot(Span::empty(*error.marker()));
    if error.info().contains("anchor") {
        return no_alias(spot);
    }
    if let Some(spot) = tab(text, spot.line) {
        return TreeError {
            code: "syntax",
            message: "not valid YAML: a tab indents the line".to_owned(),
            hint: "indent with blanks",
            spot,
        };
    }
    TreeError {
        code: "syntax",
        message: format!("not valid YAML: {}", error.info()),
        hint: "check indentation, quotes and brackets",
        spot,
    }
}

/// The tab in the indentation of a line, or of the next, which a scanner takes for more of the value before it.
fn tab(text: &str, line: usize) -> Option<Spot> {
    let mut near = lines(text).map(|(_, content)| content).zip(1..).skip(line.saturating_sub(1)).take(2);
    near.find_map(|(content, line)| {
        let rest = content.trim_start_matches(' ');
        let indents = rest.starts_with('\t') && !rest.trim().is_empty();
        indents.then_some(Spot { line, column: content.len() - rest.len() + 1, length: 1 })
    })
}

fn no_alias(spot: Spot) -> TreeError {
    TreeError {
        code: "yaml-alias",
        message: "YAML anchors and aliases are not part of the policy language".to_owned(),
        hint: "write the value out; quote a name that starts with `*` or `&`, such as `\"*.example.com\"`",
        spot,
    }
}

/// A span of several lines keeps its first character only.
fn spot(Span { start, end }: Span) -> Spot {
    let column = |marker: &Marker| marker.col() + 1;
    let length = if start.line() == end.line() { end.col().saturating_sub(start.col()).max(1) } else { 1 };
    Spot { line: start.line().max(1), column: column(&start), length }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Boolean(true),
        "false" | "False" | "FALSE" => return Value::Boolean(false),
        _ => {}
    }
    if let Some(integer) = integer(text) {
        return Value::Integer(integer);
    }
    // What only looks like a number to Rust, such as `inf` or `nan`, is a word in YAML.
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))
        && text.ends_with(|c: char| c.is_ascii_digit() || c == '.');
    match text.parse() {
        Ok(value) if numeric && !is_padded(text) => Value::Float(value),
        Ok(_) | Err(_) => Value::Text(text.to_owned()),
    }
}

fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let radixes = [("0x", 16), ("0o", 8), ("0b", 2)];
    let prefixed = radixes.iter().find_map(|(prefix, radix)| Some((*radix, digits.strip_prefix(prefix)?)));
    let (radix, digits) = prefixed.unwrap_or((10, digits));
    if radix == 10 && is_padded(digits) || digits.starts_with(['+', '-']) {
        return None;
    }
    Some(sign * i128::from_str_radix(digits, radix).ok()?)
}

/// Digits behind a leading zero make a text: nobody knows whether they were meant octal.
fn is_padded(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
