//! A value of the file together with its path, for diagnostics.

use crate::tree::{Node, Spot, Value};

/// Where a value stands. What is missing stands where its parent does.
#[derive(Clone)]
pub(crate) struct Place<'a> {
    node: &'a Node,
    spot: Spot,
    field: String,
    /// The value is not in the file; `node` is the nearest one above it.
    missing: bool,
}

impl<'a> Place<'a> {
    pub(crate) fn new(root: &'a Node) -> Self {
        Self { node: root, spot: root.spot, field: String::new(), missing: false }
    }

    /// The value of a key.
    pub(crate) fn key(&self, key: &str) -> Self {
        let field = if self.field.is_empty() { key.to_owned() } else { format!("{}.{key}", self.field) };
        self.below(self.node.get(key), field)
    }

    /// The key itself: what a fault about its mere presence points to.
    pub(crate) fn key_itself(&self, key: &str) -> Self {
        let mut place = self.key(key);
        if let Value::Map(entries) = &self.node.value
            && let Some((name, _)) = entries.iter().find(|(name, _)| name.text() == Some(key))
        {
            place.spot = name.spot;
        }
        place
    }

    /// An entry of a list.
    pub(crate) fn item(&self, index: usize) -> Self {
        let node = self.node.item(index);
        let index = node.map_or(index, |node| node.index);
        self.below(node, format!("{}[{index}]", self.field))
    }

    pub(crate) fn spot(&self) -> Spot {
        self.spot
    }

    pub(crate) fn field(&self) -> &str {
        &self.field
    }

    fn below(&self, node: Option<&'a Node>, field: String) -> Self {
        match node {
            Some(node) if !self.missing => Self { node, spot: node.spot, field, missing: false },
            Some(_) | None => Self { node: self.node, spot: self.spot, field, missing: true },
        }
    }
}
